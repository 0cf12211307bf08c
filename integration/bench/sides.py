"""What is compared: the ways to the same repository, and what must be so before each run."""

import os
import shutil
import signal
import time
from pathlib import Path

from harness.commands import processes, run, until

CACHE = Path("/var/cache/libdnf5")
# The service's unpacked layers, and skopeo's notes on blobs, which in the unit's sandbox begin empty.
SERVICE_CACHE = Path("/var/cache/dnf5-oci")
SKOPEO_CACHE = Path("/var/lib/containers/cache")
REPO_FILE = Path("/etc/yum.repos.d/bench.repo")
PLUGIN_CONF = Path("/etc/dnf/libdnf5-plugins/oci.conf")


def end_service():
    """The next call starts the service anew."""
    running = lambda: processes("dnf5-oci", "serve")
    for process in running():
        os.kill(process, signal.SIGTERM)
    until(lambda: not running(), "the service ends")


def forget():
    """As on a machine that has never seen the repository."""
    end_service()
    for directory in (CACHE, SERVICE_CACHE, SKOPEO_CACHE):
        shutil.rmtree(directory, ignore_errors=True)
    CACHE.mkdir()


def timed(*command):
    """How long a command takes, in seconds. It must succeed."""
    begin = time.perf_counter()
    run(*command, timeout=600)
    return time.perf_counter() - begin


class Dnf:
    """dnf5 with a repository at an address."""

    def __init__(self, baseurl, *options, fetch="on-demand"):
        self.baseurl = baseurl
        self.options = options
        self.fetch = fetch

    def configure(self):
        REPO_FILE.parent.mkdir(exist_ok=True)
        REPO_FILE.write_text(f"[bench]\nname=bench\ngpgcheck=0\nbaseurl={self.baseurl}\n")
        # Metadata that are older than this file would be fetched again.
        os.utime(REPO_FILE, (0, 0))
        lines = PLUGIN_CONF.read_text().splitlines()
        lines = [f"fetch = {self.fetch}" if line.startswith("fetch =") else line for line in lines]
        PLUGIN_CONF.write_text("\n".join(lines) + "\n")

    def time(self, *command):
        self.configure()
        return timed("dnf5", "-y", *self.options, *command)


def http(url):
    """As it is without us."""
    return Dnf(url, "--disable-plugin=oci")


def oci(reference, fetch="on-demand"):
    return Dnf(f"oci://{reference}", fetch=fetch)


class Floor:
    """The same blobs without dnf5."""

    # As many as the service has.
    PROXIES = 4

    def __init__(self, reference):
        self.reference = reference
        self.blobs = []

    def time(self, *_command):
        return timed("/floor/floor", self.PROXIES, f"docker://{self.reference}", *self.blobs)
