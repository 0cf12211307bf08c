"""zypper, its repositories and its cache."""

import shutil
from pathlib import Path

from .commands import run

REPOS = Path("/etc/zypp/repos.d")
CACHE = Path("/var/cache/zypp")
LOG = Path("/var/log/zypper.log")

# Debian's packages are not in rpm's database, where zypper looks for glibc.
SYSTEM_CHECK = Path("/etc/zypp/systemCheck")


def zypper(*arguments, **options):
    """Runs it with the default answers."""
    return run("zypper", "--non-interactive", *arguments, **options)


def clear():
    """Removes all repositories, and the cache."""
    SYSTEM_CHECK.write_text("")
    LOG.unlink(missing_ok=True)
    for directory in (REPOS, CACHE):
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)


def add(reference, **options):
    """Writes a .repo file for the plugin. The metadata need not be signed, unless the options say so."""
    options = {"enabled": 1, "gpgcheck": 0, "baseurl": f"plugin:oci?reference={reference}"} | options
    lines = ["[tools]", "name=tools", *(f"{key}={value}" for key, value in options.items())]
    (REPOS / "tools.repo").write_text("\n".join(lines) + "\n")
