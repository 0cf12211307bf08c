"""DNF 4, with its own cache and the same .repo files."""

import re
import shutil
from contextlib import contextmanager
from pathlib import Path

from .commands import replace, run
from .lines import replace_url

CACHE = Path("/var/cache/dnf")
CONF = Path("/etc/dnf/plugins/oci.conf")

# Debian has no release package, and a plugin for local repositories that is enabled.
PROGRAM = ("dnf-3", "--releasever=1", "--disableplugin=local", "--disableplugin=system_upgrade")

# Patterns and their replacements in lines that are compared: speeds, times, and the hash in the name of a cache
# directory. Downloads end in any order.
VARIES = [
    (r" +[0-9.]+ [ kMG]B/s \| +", " SPEED "),
    (r" +\d\d:\d\d( ETA)? *$", " TIME"),
    (r"^\(\d+/\d+\): ", "(): "),
    (r"-[0-9a-f]{16}/", "-HASH/"),
]
# Not printed for metadata of the same second.
AGE = "Last metadata expiration check: "
DOWNLOADED = re.compile(r"\(\): |.* SPEED ")


class Dnf4:
    """DNF 4 and its cache. `dnf` has the rest, which does not depend on the version."""

    LOGS = [Path("/var/log") / name for name in ("dnf.log", "dnf.librepo.log", "dnf.rpm.log", "hawkey.log")]

    def __init__(self, dnf):
        self.dnf = dnf

    def __getattr__(self, name):
        return getattr(self.dnf, name)

    def __call__(self, *arguments, **options):
        return run(*PROGRAM, *arguments, **options)

    @contextmanager
    def clean_slate(self):
        """An empty cache, and afterwards the configuration as it was."""
        self.clear_cache()
        conf = CONF.read_text()
        try:
            yield
        finally:
            CONF.write_text(conf)

    @staticmethod
    def backend(choice):
        option("backend = auto", f"backend = {choice}")

    @staticmethod
    def clear_cache():
        shutil.rmtree(CACHE, ignore_errors=True)


def option(default, value):
    """Sets an option of the plugin."""
    replace(CONF, default, value)


def normalized(text, url):
    """Its lines, and sorted those about downloads."""
    lines = []
    for line in (line for line in replace_url(text, url).splitlines() if not line.startswith(AGE)):
        for pattern, replacement in VARIES:
            line = re.sub(pattern, replacement, line)
        lines.append(line.rstrip())
    downloads = sorted(line for line in lines if DOWNLOADED.match(line))
    return [line for line in lines if not DOWNLOADED.match(line)], downloads
