"""What is compared: the ways to the same repository, and what must be so before each run."""

import os
import shutil
import signal
import time
from pathlib import Path

from harness.commands import processes, run, wait_until

CACHE = Path("/var/cache/libdnf5")
# The service's unpacked layers.
SERVICE_CACHE = Path("/var/cache/dnf5-oci")
# skopeo's notes on blobs.
SKOPEO_CACHE = Path("/var/lib/containers/cache")
REPO_FILE = Path("/etc/yum.repos.d/bench.repo")
PLUGIN_CONF = Path("/etc/dnf/libdnf5-plugins/oci.conf")


def take_no_notes():
    """As the unit's sandbox has it."""
    SKOPEO_CACHE.mkdir(parents=True)
    run("mount", "-t", "tmpfs", "-o", "ro", "tmpfs", SKOPEO_CACHE)


def end_service():
    """The next call starts the service anew."""
    running = lambda: processes("dnf5-oci", "serve")
    for process in running():
        os.kill(process, signal.SIGTERM)
    wait_until(lambda: not running(), "the service ends")


def forget():
    """As on a machine that has never seen the repository."""
    end_service()
    for directory in (CACHE, SERVICE_CACHE):
        shutil.rmtree(directory, ignore_errors=True)
    CACHE.mkdir()


def timed(*command):
    """How long a command takes, in seconds. It must succeed."""
    begin = time.perf_counter()
    run(*command, timeout=600)
    return time.perf_counter() - begin


class Dnf:
    """dnf5 with a repository at an address."""

    def __init__(self, baseurl, *options, **plugin_options):
        self.baseurl = baseurl
        self.options = options
        self.plugin_options = plugin_options

    def configure(self):
        REPO_FILE.parent.mkdir(exist_ok=True)
        REPO_FILE.write_text(f"[bench]\nname=bench\ngpgcheck=0\nbaseurl={self.baseurl}\n")
        # Metadata that are older than this file would be fetched again.
        os.utime(REPO_FILE, (0, 0))
        options = [f"{key} = {value}" for key, value in self.plugin_options.items()]
        PLUGIN_CONF.write_text("\n".join(["[main]", "name = oci", "enabled = 1", *options, ""]))

    def time(self, *command):
        self.configure()
        return timed("dnf5", "-y", *self.options, *command)


def http(url):
    """As it is without us."""
    return Dnf(url, "--disable-plugin=oci")


def oci(reference, **plugin_options):
    return Dnf(f"oci://{reference}", **plugin_options)


class Floor:
    """The same blobs without dnf5."""

    # As many as the service has.
    PROXIES = 8

    def __init__(self, reference):
        self.reference = reference
        self.blobs = []

    def time(self, *_command):
        return timed("/floor/floor", self.PROXIES, f"docker://{self.reference}", *self.blobs)
