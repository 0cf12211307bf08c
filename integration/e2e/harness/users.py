"""Ordinary users of the machine."""

import os
import pwd
from pathlib import Path

from .commands import run

# The password of `user` at a registry.
PASSWORD = "the-password"


class User:
    """An ordinary user."""

    def __init__(self, name):
        run("useradd", "--create-home", name)
        entry = pwd.getpwnam(name)
        self.id = entry.pw_uid
        self.home = Path(entry.pw_dir)
        self.command = ["setpriv", f"--reuid={self.id}", f"--regid={entry.pw_gid}", "--clear-groups"]

    def environment(self, **variables):
        """The user's environment; a variable that is None is unset."""
        variables = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": str(self.home)} | variables
        return {key: str(value) for key, value in variables.items() if value is not None}

    def run(self, *arguments, code=0, cwd=None, **variables):
        return run(*self.command, *arguments, code=code, cwd=cwd or self.home,
                   env=self.environment(**variables))

    def runtime_directory(self):
        """The directory as logind creates it."""
        directory = Path(f"/run/user/{self.id}")
        directory.mkdir(parents=True, exist_ok=True)
        os.chown(directory, self.id, self.id)
        directory.chmod(0o700)
        return directory

    def log_in(self, registry, file):
        """Writes an auth file for the user."""
        file.parent.mkdir(parents=True, exist_ok=True)
        run("skopeo", "login", "--authfile", file, "--username", "user", "--password", PASSWORD,
            "--tls-verify=false", registry.address)
        run("chown", "-R", f"{self.id}:{self.id}", self.home, file.parent)
