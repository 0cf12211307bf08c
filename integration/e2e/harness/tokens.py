"""A token server, for a registry that takes tokens instead of passwords."""

import base64
import json
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from . import secrets
from .registry import Certificate

SERVICE = "registry"
ISSUER = "tokens"

# Seconds for which docker-registry accepts an expired token.
LEEWAY = 60


def openssl(*arguments, data=b""):
    """Runs openssl and returns its output."""
    done = subprocess.run(
        ["openssl", *arguments], input=data, stdout=subprocess.PIPE, check=True
    )
    return done.stdout


def base64url(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def encode(part):
    """A part of a JSON web token (RFC 7519)."""
    return base64url(json.dumps(part).encode())


class TokenServer:
    """Gives tokens for passwords (GET) and refresh tokens (POST), as in the distribution project's
    specification.

    users      the password of each user, who may do everything
    refresh    the user of each refresh token
    public     repositories that may be pulled anonymously
    lifetime   seconds for which the registry accepts a token
    requested  (method, user, scopes) of each issued token
    given      these tokens
    """

    def __init__(self, directory, port, users):
        self.certificate = Certificate(Path(directory) / "signing", ISSUER)
        der = openssl("x509", "-in", self.certificate.certificate, "-outform", "DER")
        chain = [base64.b64encode(der).decode()]
        self.header = {"typ": "JWT", "alg": "RS256", "x5c": chain}
        self.realm = f"http://localhost:{port}/token"
        self.users = users
        for user, password in users.items():
            secrets.register(password, user)
        self.refresh = {}
        self.public = set()
        self.lifetime = 300
        self.requested = []
        self.given = []
        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.tokens = self
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def authentication(self):
        """The registry's configuration."""
        return (
            f"token: {{realm: {self.realm}, service: {SERVICE}, issuer: {ISSUER}, "
            f"rootcertbundle: {self.certificate.authority}}}"
        )

    def token(self, user, scopes):
        """Issues a token for the scopes that a user may have; None is anonymous."""
        now = int(time.time())
        granted = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            actions = actions.split(",")
            if user is None:
                actions = [action for action in actions if action == "pull" and name in self.public]
            granted.append({"type": kind, "name": name, "actions": actions})
        claims = {
            "iss": ISSUER, "sub": user or "", "aud": SERVICE, "iat": now, "nbf": now - 1,
            "exp": now + self.lifetime - LEEWAY, "jti": str(time.monotonic_ns()), "access": granted,
        }
        signed = f"{encode(self.header)}.{encode(claims)}"
        signature = openssl("dgst", "-sha256", "-sign", self.certificate.key, data=signed.encode())
        token = f"{signed}.{base64url(signature)}"
        self.given.append(secrets.register(token))
        return token

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class Handler(BaseHTTPRequestHandler):
    """One request for a token."""

    def do_GET(self):
        tokens = self.server.tokens
        user = None
        scheme, _, value = self.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic":
            user, _, password = base64.b64decode(value).decode().partition(":")
            if tokens.users.get(user) != password:
                return self.refuse()
        return self.give(user, parse_qs(urlsplit(self.path).query).get("scope", []))

    def do_POST(self):
        form = parse_qs(self.chunks().decode())
        user = self.server.tokens.refresh.get(form.get("refresh_token", [""])[0])
        if form.get("grant_type") != ["refresh_token"] or user is None:
            return self.refuse()
        return self.give(user, form.get("scope", []))

    def chunks(self):
        """The body, which skopeo sends in chunks."""
        assert self.headers["Transfer-Encoding"] == "chunked"
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        return body

    def give(self, user, scopes):
        tokens = self.server.tokens
        scopes = [part for scope in scopes for part in scope.split()]
        tokens.requested.append((self.command, user, scopes))
        token = tokens.token(user, scopes)
        self.answer(200, {"token": token, "access_token": token, "expires_in": tokens.lifetime})

    def refuse(self):
        error = {"code": "UNAUTHORIZED", "message": "incorrect username or password"}
        self.answer(401, {"errors": [error]})

    def answer(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass
