"""Pulp's settings: one database behind a socket, and users with passwords."""

SECRET_KEY = "only for tests"
DB_ENCRYPTION_KEY = "/var/lib/pulp/key"
DATABASES = {"default": {
    "ENGINE": "django.db.backends.postgresql", "NAME": "pulp", "USER": "postgres", "HOST": "/var/lib/pulp/run",
}}
# Requests for blobs are redirected to it.
CONTENT_ORIGIN = "http://localhost:24816"
TOKEN_AUTH_DISABLED = True
# The default takes a third of a second for each request with a password.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
ANALYTICS = False
