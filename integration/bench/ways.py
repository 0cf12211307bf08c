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
# Where oras puts what it pulls: on the same file system.
PULLED = Path("/var/cache/bench")
REPO_FILE = Path("/etc/yum.repos.d/bench.repo")
PLUGIN_CONF = Path("/etc/dnf/libdnf5-plugins/oci.conf")

WITHOUT_PLUGIN = ["--disable-plugin=oci"]
# As many at once as dnf5 can.
PARALLEL = ["--setopt=max_parallel_downloads=20", "--setopt=max_downloads_per_mirror=20"]


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
    for directory in (CACHE, SERVICE_CACHE, PULLED):
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
    """dnf5 with a repository at an address.

    options         of dnf5
    programs        whose memory counts besides that of dnf5
    plugin_options  what is set in oci.conf
    """

    def __init__(self, baseurl, build, options=(), programs=(), **plugin_options):
        self.baseurl = baseurl
        self.build = build
        self.options = options
        self.programs = programs
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
        return ["dnf5", *self.options, *arguments]

    def check(self, packages):
        """Fails unless DNF's cache holds the metadata and so many packages."""
        [cache] = CACHE.glob("bench-*")
        assert (cache / "repodata/repomd.xml").exists()
        check_number(cache.glob("packages/*.rpm"), packages)


class Floor:
    """The same blobs without dnf5.

    proxies  how many skopeo processes. It does not follow what the service does, so that a bad choice of the
             service shows.
    """

    programs = ("skopeo",)

    def __init__(self, reference, proxies):
        self.reference = reference
        self.proxies = proxies
        self.blobs = []

    def prepare(self):
        assert self.blobs, "the registry has not been asked for a blob"

    def command(self, *_arguments):
        return ["/examples/floor", self.proxies, f"docker://{self.reference}", *self.blobs]

    def check(self, _packages):
        """It checks the digest of each blob itself."""


class Oras:
    """`oras pull`, which has no dnf5 either: metadata and packages of the whole artifact."""

    programs = ("oras",)

    def __init__(self, reference):
        self.reference = reference

    def prepare(self):
        PULLED.mkdir()

    def command(self, *_arguments):
        return ["oras", "pull", "--no-tty", "--output", PULLED, self.reference]

    def check(self, packages):
        check_number(PULLED.glob("*.rpm"), packages)


def check_number(files, packages):
    found = len(list(files))
    assert found == packages, f"{found} packages, expected {packages}"


def ways(url, reference, proxies, build, base=None, **plugin_options):
    """All ways to a repository, by the names that the tables have.

    url, reference  where the repository is
    proxies         of skopeo alone
    base            another build, if there is one
    """
    oci = lambda build, **options: Dnf(f"oci://{reference}", build, programs=("dnf5-oci", "skopeo"), **options)
    found = {
        "oci": oci(build, **plugin_options),
        "eager": oci(build, **plugin_options | {"fetch": "eager"}),
        "http": Dnf(url, build, WITHOUT_PLUGIN),
        "http × 20": Dnf(url, build, WITHOUT_PLUGIN + PARALLEL),
        "floor": Floor(reference, proxies),
        "oras": Oras(reference),
    }
    return found | {"base": oci(base, **plugin_options)} if base else found
