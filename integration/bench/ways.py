"""The ways to the same repository that are compared, and the state before each run."""

import os
import shutil
import signal
from pathlib import Path

from harness.commands import processes, run, wait_until

CACHE = Path("/var/cache/libdnf5")
# The service's unpacked layers.
SERVICE_CACHE = Path("/var/cache/dnf5-oci")
# skopeo's blob info cache.
SKOPEO_CACHE = Path("/var/lib/containers/cache")
REPO_FILE = Path("/etc/yum.repos.d/bench.repo")
PLUGIN_CONF = Path("/etc/dnf/libdnf5-plugins/oci.conf")


def disable_blob_info_cache():
    """As the sandbox of the service's unit does."""
    SKOPEO_CACHE.mkdir(parents=True)
    run("mount", "-t", "tmpfs", "-o", "ro", "tmpfs", SKOPEO_CACHE)


def end_service():
    """Ends the service; the next call starts it again."""
    running = lambda: processes("dnf5-oci", "serve")
    for process in running():
        os.kill(process, signal.SIGTERM)
    wait_until(lambda: not running(), "the service ends")


def clear_cache():
    """Leaves the machine as if it had never seen the repository."""
    end_service()
    for directory in (CACHE, SERVICE_CACHE):
        shutil.rmtree(directory, ignore_errors=True)
    CACHE.mkdir()


class Build:
    """The service and the plugin, as `make stage` has installed them below a directory."""

    def __init__(self, stage):
        [plugin] = stage.glob("usr/lib*/**/libdnf5/plugins/oci.so")
        self.files = {Path("/", file.relative_to(stage)): file
                      for file in (stage / "usr/bin/dnf5-oci", plugin)}

    def select(self):
        """Puts this build in the place of any other; no service may run."""
        for installed, file in self.files.items():
            installed.unlink()
            installed.symlink_to(file)


class Dnf:
    """dnf5 with a repository at an address."""

    def __init__(self, baseurl, build, *options, **plugin_options):
        self.baseurl = baseurl
        self.build = build
        self.options = options
        self.plugin_options = plugin_options

    def prepare(self):
        self.build.select()
        REPO_FILE.parent.mkdir(exist_ok=True)
        REPO_FILE.write_text(f"[bench]\nname=bench\ngpgcheck=0\nbaseurl={self.baseurl}\n")
        # dnf5 would fetch metadata again that is older than this file.
        os.utime(REPO_FILE, (0, 0))
        options = [f"{key} = {value}" for key, value in self.plugin_options.items()]
        PLUGIN_CONF.write_text("\n".join(["[main]", "name = oci", "enabled = 1", *options, ""]))

    def command(self, *arguments):
        return ["dnf5", "-y", *self.options, *arguments]


def http(url, build):
    """dnf5 without the plugin."""
    return Dnf(url, build, "--disable-plugin=oci")


def oci(reference, build, **plugin_options):
    return Dnf(f"oci://{reference}", build, **plugin_options)


class Floor:
    """The same blobs without dnf5."""

    # As many as the service starts.
    PROXIES = 8

    def __init__(self, reference):
        self.reference = reference
        self.blobs = []

    def prepare(self):
        pass

    def command(self, *_arguments):
        return ["/examples/floor", self.PROXIES, f"docker://{self.reference}", *self.blobs]
