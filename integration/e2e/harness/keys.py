"""OpenPGP keys, and packages and metadata signed with them."""

import os
import shutil
import subprocess
from pathlib import Path

from .commands import run


class Key:
    """An OpenPGP key in its own keyring."""

    def __init__(self, directory, name):
        self.name = name
        # A socket's path is limited to 108 bytes, and gpg-agent's is in here.
        self.home = Path(directory) / name
        self.home.mkdir(mode=0o700)
        self.public = Path(directory) / f"{name}.asc"
        self.gpg("--passphrase", "", "--quick-generate-key", f"{name} <{name}@example.org>",
                 "rsa2048", "sign", "never")
        self.gpg("--armor", "--output", self.public, "--export", name)

    def gpg(self, *arguments):
        subprocess.run(["gpg", "--homedir", self.home, "--batch", "--quiet", *arguments],
                       check=True, capture_output=True)

    def sign_package(self, package, target):
        """Returns a signed copy of a package."""
        target.mkdir(parents=True)
        signed = Path(shutil.copy(package, target))
        run("rpmsign", "--addsign", "--define", f"_openpgp_sign_id {self.name}",
            "--define", f"_gpg_name {self.name}", signed, env=os.environ | {"GNUPGHOME": str(self.home)})
        return signed

    def sign_metadata(self, repository):
        """Writes or replaces the signature of repomd.xml."""
        repomd = repository.directory / "repodata/repomd.xml"
        self.gpg("--yes", "--armor", "--output", f"{repomd}.asc", "--detach-sign", repomd)
        return repository


def remove_keys():
    """Removes all keys from the RPM database."""
    names = run("rpm", "-q", "gpg-pubkey", "--qf", "%{NAME}-%{VERSION}-%{RELEASE}\n", code=None)
    for name in names.output.split("\n"):
        if name.startswith("gpg-pubkey-"):
            run("rpm", "-e", name)
