"""Keys, signatures, and the files in /etc/containers that require them."""

import json
import os
import re
from contextlib import contextmanager
from pathlib import Path

from .commands import run

CONTAINERS = Path("/etc/containers")
POLICY = CONTAINERS / "policy.json"
REGISTRIES_D = CONTAINERS / "registries.d"
LOOKASIDE = Path("/srv/lookaside")

ANYTHING = {"type": "insecureAcceptAnything"}
NOTHING = {"type": "reject"}
ANY_TAG = {"type": "matchRepository"}


class Keys:
    """An owner's GPG key and cosign key pair."""

    def __init__(self, directory, owner):
        self.mail = f"{owner}@example.com"
        self.gpg, self.private, self.public = (
            Path(directory) / f"{owner}.{ending}" for ending in ("gpg", "key", "pub")
        )
        os.environ.setdefault("GNUPGHOME", str(gpg_home(directory)))
        os.environ["COSIGN_PASSWORD"] = ""
        run("gpg", "--batch", "--quiet", "--passphrase", "", "--quick-generate-key", self.mail)
        run("gpg", "--armor", "--output", self.gpg, "--export", self.mail)
        run("cosign", "generate-key-pair", f"--output-key-prefix={self.private.with_suffix('')}")

    def require_gpg(self, identity=None):
        """The requirement of a GPG signature by this owner."""
        requirement = {"type": "signedBy", "keyType": "GPGKeys", "keyPath": str(self.gpg)}
        return requirement | ({"signedIdentity": identity} if identity else {})

    def require_sigstore(self, identity=None):
        """The requirement of a sigstore signature by this owner."""
        requirement = {"type": "sigstoreSigned", "keyPath": str(self.public)}
        return requirement | ({"signedIdentity": identity} if identity else {})

    def sign_with_gpg(self, reference, identity=None):
        """Signs a reference's manifest, with the signature in the lookaside."""
        image = f"docker://{reference}"
        run("skopeo", "copy", "--quiet", "--sign-by", self.mail, "--sign-identity",
            identity or reference, image, image)

    def sign_with_skopeo(self, reference):
        """Pushes a sigstore signature with the key pair."""
        image = f"docker://{reference}"
        run("skopeo", "copy", "--quiet", "--sign-by-sigstore-private-key", self.private,
            "--sign-passphrase-file", "/dev/null", image, image)

    def sign_with_cosign(self, reference, *options):
        """The same with cosign, by default in the format that policy.json supports."""
        options = options or ["--new-bundle-format=false"]
        run("cosign", "sign", "--yes", "--key", self.private, "--use-signing-config=false",
            "--tlog-upload=false", *options, reference)

    def sign_one(self, reference, digest, lookaside):
        """Signs one manifest, an index or an entry of one, with the signature in a lookaside."""
        name = scope(reference)
        manifest = Path(f"/tmp/{digest}")
        manifest.write_text(run("oras", "manifest", "fetch", "--plain-http", f"{name}@{digest}").output)
        target = Path(lookaside) / f"{name.partition('/')[2]}@{digest.replace(':', '=')}"
        target.mkdir(parents=True)
        run("skopeo", "standalone-sign", "--output", target / "signature-1", manifest, reference,
            self.mail)


def gpg_home(directory):
    home = Path(directory) / "gnupg"
    home.mkdir(mode=0o700)
    return home


def scope(reference):
    """A reference without its tag and digest."""
    return re.sub(r"@.*|:[^:/]*$", "", reference)


def policy(scopes, default=ANYTHING, transport="docker"):
    """Writes policy.json: one requirement for each scope, and one for all others."""
    scopes = {scope: [requirement] for scope, requirement in scopes.items()}
    POLICY.write_text(json.dumps({"default": [default], "transports": {transport: scopes}}))


@contextmanager
def temporary_policy(scopes, **options):
    """The same for the duration of the context."""
    original = POLICY.read_text()
    policy(scopes, **options)
    try:
        yield
    finally:
        POLICY.write_text(original)


def registries_d(host, **options):
    """Writes registries.d: where signatures are stored."""
    REGISTRIES_D.mkdir(exist_ok=True)
    lines = [f"    {key.replace('_', '-')}: {value}\n" for key, value in options.items()]
    (REGISTRIES_D / "test.yaml").write_text(f"docker:\n  {host}:\n" + "".join(lines))
