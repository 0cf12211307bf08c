"""Callers other than dnf5: dnf5daemon-server and programs that use libdnf5's API."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from conftest import NO_BUS, PRIVATE
from harness.api import BEGIN, program
from harness.commands import processes, run, wait_until
from harness.polkit import Polkit
from harness.repository import build
from harness.service import journal

DAEMON = "dnf5daemon-server"


@pytest.fixture(scope="module", autouse=True)
def polkit():
    """dnf5daemon-server asks it for permission."""
    running = Polkit()
    yield running
    running.stop()


@pytest.fixture
def tools(dnf, registry):
    """A repository with the packages one and two; two requires one."""
    repository = dnf.repository().add(build("one")).add(build("two", tags="Requires: one"))
    repository.createrepo().push(dnf.reference(registry))
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    registry.clear()


@pytest.fixture
def daemon():
    """Runs dnf5daemon-client. The bus starts dnf5daemon-server, which has its own cache."""
    cache = Path("/var/cache/dnf5daemon-server")
    run("rm", "-rf", cache)
    return lambda *arguments, **options: run("dnf5daemon-client", *arguments, **options)


def assert_is_installed(name):
    assert Path(f"/usr/share/{name}/file").read_text() == f"{name} 1\n"


def held(process):
    """Counts a process's threads and open files by kind, which could leak."""
    found = Counter(threads=len(os.listdir(f"/proc/{process}/task")))
    for entry in os.listdir(f"/proc/{process}/fd"):
        try:
            found[os.readlink(f"/proc/{process}/fd/{entry}").split(":")[0]] += 1
        except FileNotFoundError:
            continue
    return found


def test_the_daemon(dnf, registry, tools, installed, daemon):
    installed.extend(["one", "two"])
    daemon("repoquery").has("one-0:1-1.noarch").has("two-0:1-1.noarch")
    assert len(registry.manifests()) == 1 and len(registry.blobs()) == 1, "only the metadata"
    daemon("repoinfo", "tools").has("tools")
    daemon("--assumeno", "install", "two", code=None).has("Installing dependencies")
    assert len(registry.blobs()) == 1, "only the metadata"
    daemon("-y", "install", "two").has("two")
    assert_is_installed("one")
    assert_is_installed("two")
    assert len(registry.blobs()) == 3
    registry.clear()
    daemon("-y", "remove", "two")
    assert registry.blobs() == []


def test_a_failure_in_the_daemon(dnf, registry, tools, daemon):
    missing = dnf.reference(registry, "missing")
    dnf.add("tools", f"oci://{missing}")
    # The daemon passes librepo's message on to its client; the service's line is in the daemon's log.
    daemon("-y", "install", "one", code=1).has(f"404 for http://dnf5-oci.alt/{missing}/repodata/repomd.xml")
    line = f"repository tools oci://{missing}: reading manifest"
    wait_until(lambda: line in journal(DAEMON), "the line is there")
    assert journal(DAEMON).count(line) == 1
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    daemon("repoquery").has("one-0:1-1.noarch")


def test_the_daemon_keeps_nothing(dnf, tools, daemon):
    daemon("repoquery")
    [server] = processes(DAEMON)
    wait_until(lambda: not processes(*PRIVATE), "its first instance ends")
    before = held(server)
    for _ in range(5):
        daemon("--setopt=metadata_expire=0", "repoquery").has("one-0:1-1.noarch")
    wait_until(lambda: not processes(*PRIVATE), "all instances end")
    # The daemon joins its threads some time later, so a single count proves nothing. A leak grows by at
    # least one in each of the five runs.
    wait_until(lambda: max((held(server) - before).values(), default=0) < 5, "nothing leaks")
    assert not processes("skopeo")


RESOLVE = """
base = load()
goal = libdnf5.base.Goal(base)
goal.add_install("two")
transaction = goal.resolve()
print(sorted(item.get_package().get_nevra() for item in transaction.get_transaction_packages()))
"""

RUN = RESOLVE + """
transaction.download()
print(transaction.run() == libdnf5.base.Transaction.TransactionRunResult_SUCCESS)
"""

DOWNLOAD = """
base = load()
downloader = libdnf5.repo.PackageDownloader(base)
downloader.add(package(base, "one"), sys.argv[1])
downloader.download()
"""


@pytest.mark.parametrize("environment", [None, NO_BUS], ids=["bus", "no-bus"])
def test_a_program_that_loads_and_resolves(registry, tools, environment):
    program(RESOLVE, env=environment).has("['one-1-1.noarch', 'two-1-1.noarch']")
    assert len(registry.manifests()) == 1 and len(registry.blobs()) == 1, "only the metadata"
    wait_until(lambda: not processes(*PRIVATE), "no instance is left")


def test_a_program_that_downloads(registry, tools, tmp_path):
    program(DOWNLOAD, tmp_path)
    assert (tmp_path / "one-1-1.noarch.rpm").exists()
    assert len(registry.blobs()) == 2


@pytest.mark.parametrize("environment", [None, NO_BUS], ids=["bus", "no-bus"])
def test_a_program_that_runs_the_transaction(registry, tools, installed, environment):
    installed.extend(["one", "two"])
    program(RUN, env=environment).has("True")
    assert_is_installed("one")
    assert_is_installed("two")
    assert len(registry.blobs()) == 3


CANCEL = """
class Cancel(libdnf5.repo.DownloadCallbacks):
    def progress(self, data, total, downloaded):
        return self.ABORT

base = load()
callbacks = Cancel()
base.set_download_callbacks(libdnf5.repo.DownloadCallbacksUniquePtr(callbacks))
goal = libdnf5.base.Goal(base)
goal.add_install("one")
try:
    goal.resolve().download()
except Exception as error:
    print("failed:", error)
"""


def test_a_program_that_cancels(dnf, tools, fetch):
    dnf.backend("private")
    result = program(CANCEL)
    result.has("failed: the download was cancelled" if fetch == "eager" else "failed: ")
    assert dnf.failed_head_starts() == []
    wait_until(lambda: not processes(*PRIVATE), "no instance is left")
    dnf("-y", "install", "--downloadonly", "one").has("Complete!")


FAIL = """
try:
    load()
except Exception as error:
    print("failed:", type(error).__name__)
"""


def test_a_failure_in_a_program(dnf, registry, tools):
    dnf.add("tools", f"oci://{dnf.reference(registry, 'missing')}")
    result = program(FAIL)
    line = f"repository tools oci://{dnf.reference(registry, 'missing')}: "
    result.has("failed:").has(line).has("manifest unknown")
    assert result.output.count(line) == 1, result


# Loads repositories many times, twice at the same time, and then prints and waits.
OFTEN = """
import gc, os
def count():
    gc.collect()
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
def once():
    first, second = load(), load()
    libdnf5.repo.PackageDownloader(second).download()
    downloader = libdnf5.repo.PackageDownloader(first)
    downloader.add(package(first, "one"), sys.argv[1])
    downloader.download()
    os.unlink(sys.argv[1] + "/one-1-1.noarch.rpm")
once()
before = count()
for _ in range(5):
    once()
print(before, count(), flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("backend", ["system", "private"])
def test_a_program_that_loads_often(dnf, registry, tools, tmp_path, backend):
    dnf.backend(backend)
    running = subprocess.Popen(
        [sys.executable, "-c", BEGIN + OFTEN, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )
    try:
        line = running.stdout.readline()
        before, after = line.strip().removeprefix("(").removesuffix(")").split(") (")
        assert after == before, "descriptors and threads"
        # The program is still running, but has nothing left to load.
        assert not processes(*PRIVATE)
        jobs = run("busctl", "get-property", "io.github.dnf5_oci", "/io/github/dnf5_oci",
                   "io.github.dnf5_oci.Backend1", "ActiveJobs").output
        assert jobs == "u 0\n"
    finally:
        output, _ = running.communicate("\n", timeout=60)
    assert running.returncode == 0, line + output


# Like a daemon: a strict umask, ignored children, blocked signals, no standard input.
ODD = """
import os, signal
os.umask(0o777)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_BLOCK, list(signal.Signals))
os.close(0)
""" + DOWNLOAD


@pytest.mark.parametrize("backend", ["system", "private"])
def test_a_program_with_ways_of_its_own(dnf, tools, tmp_path, backend):
    dnf.backend(backend)
    program(ODD, tmp_path)
    assert (tmp_path / "one-1-1.noarch.rpm").exists()
    wait_until(lambda: not processes(*PRIVATE), "no instance is left")
