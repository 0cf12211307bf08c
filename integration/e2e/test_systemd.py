"""The service under systemd: its start and end, its permissions, and its log."""

import shutil
from pathlib import Path

import pytest

from conftest import CACHE
from harness.commands import processes, run, wait_until
from harness.repository import build
from harness.service import NAME, SERVE, UNIT, call, journal, stop_services, unit

STORE = Path("/var/cache/dnf5-oci")
SKOPEOS = Path("/var/lib/containers")


@pytest.fixture
def pushed(dnf, registry):
    """A repository with one package, which dnf5 knows as `tools`."""
    repository = dnf.repository().add(build("one")).createrepo()
    repository.push(dnf.reference(registry))
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    registry.clear()
    return f"oci://{dnf.reference(registry)}"


def state():
    """The unit's state, and the result of its last run."""
    return run("systemctl", "show", "--property=ActiveState,Result", "--value", UNIT).output.split()


def prefetch(reference, cache_dir="", **how):
    return call("PrefetchRepodata", "sssa{sv}", "tools", reference, cache_dir, "0", **how)


def mode(path):
    return oct(path.stat().st_mode & 0o777)


def test_it_starts_when_asked_and_ends_when_idle(dnf, pushed, impatient):
    assert state() == ["inactive", "success"]
    dnf("repoquery").has("one-0:1-1.noarch")
    assert state() == ["active", "success"]
    [process] = processes(*SERVE)
    assert f"/system.slice/{UNIT}" in Path(f"/proc/{process}/cgroup").read_text()
    wait_until(lambda: state() == ["inactive", "success"], "it has ended")
    assert Path("/run/dnf5-oci").is_dir(), "a private instance may have its socket there"


def test_it_starts_as_often_as_it_is_needed(dnf, pushed):
    for _ in range(8):
        dnf("--refresh", "repoquery").has("one-0:1-1.noarch")
        assert state() == ["active", "success"]
        run("systemctl", "stop", UNIT)


def test_it_makes_its_directories(dnf, pushed):
    stop_services()
    for directory in (CACHE, STORE, SKOPEOS):
        shutil.rmtree(directory, ignore_errors=True)
    prefetch(pushed).has('"fetched"')
    dnf("-C", "repoquery").has("one-0:1-1.noarch")
    assert mode(CACHE) == "0o755"
    assert [mode(path) for path in STORE.iterdir() if path.is_dir()] in ([], ["0o700"])
    assert not [path for path in SKOPEOS.rglob("*") if path.is_file()], "skopeo writes nothing"


def test_its_directories_are_removed_while_it_runs(dnf, registry, pushed):
    dnf("repoquery").has("one-0:1-1.noarch")
    serving = processes(*SERVE)
    for directory in (CACHE, STORE):
        shutil.rmtree(directory)
    dnf("repoquery").has("one-0:1-1.noarch")
    dnf("install", "-y", "--downloadonly", "one").has("Complete!")
    shutil.rmtree(CACHE)
    prefetch(pushed).has('"fetched"')
    assert len(list(CACHE.glob("tools-*/repodata/repomd.xml"))) == 1
    assert processes(*SERVE) == serving


def test_it_starts_again_however_often_it_was_killed():
    for _ in range(7):
        run("busctl", "--timeout=10", "get-property", NAME, "/io/github/dnf5_oci", f"{NAME}.Backend1", "Version")
        for process in processes(*SERVE):
            run("kill", "-KILL", process)
        # A call before both know would still go to the process that was killed.
        wait_until(lambda: state() == ["failed", "signal"], "systemd knows that it has ended")
        wait_until(lambda: run("busctl", "status", NAME, code=None).code != 0, "the bus knows it, too")


def test_it_writes_nowhere_else(pushed):
    line = prefetch(pushed, "/srv/cache/tools-0123456789abcdef", code=1)
    line.has(f"repository tools {pushed}: /srv/cache/tools-0123456789abcdef: Read-only file system")
    line.has("set ReadWritePaths= of dnf5-oci.service")
    assert not Path("/srv/cache").exists()
    with unit("[Service]\nReadWritePaths=/srv\n"):
        prefetch(pushed, "/srv/cache/tools-0123456789abcdef").has('"fetched"')
    shutil.rmtree("/srv/cache")
    prefetch(pushed, "/tmp/tools-0123456789abcdef", code=1).has("Read-only file system")


def test_what_it_may_take():
    limits = run("systemctl", "show", "--property=MemoryMax,TasksMax,LimitNOFILE", UNIT).output.split()
    assert sorted(limits) == ["LimitNOFILE=4096", f"MemoryMax={1 << 30}", "TasksMax=1024"]


def test_its_sandbox_does_not_grow_weaker():
    """In tenths, as `systemd-analyze security` counts. What is open has its reason in the unit."""
    run("systemd-analyze", "security", "--no-pager", "--threshold=17", UNIT)


def test_a_cachedir_elsewhere_is_left_to_a_private_instance(eager, dnf, pushed):
    dnf("--setopt=cachedir=/srv/cache", "-y", "install", "--downloadonly", "one").has("Complete!")
    assert len(list(Path("/srv/cache").glob("tools-*/packages/one-1-1.noarch.rpm"))) == 1
    shutil.rmtree("/srv/cache")


def test_what_it_logs(dnf, registry):
    missing = f"oci://{dnf.reference(registry, 'missing')}"
    dnf.add("tools", missing)
    dnf("repoquery", code=1).has("manifest unknown")
    [line] = [line for line in journal(UNIT).splitlines() if missing in line]
    assert line.startswith(f"repository tools {missing}: ") and "manifest unknown" in line


def test_inspect_by_busctl(dnf, registry):
    digest = dnf.repository().add(build("one")).createrepo().push(dnf.reference(registry))
    result = call("Inspect", "sa{sv}", f"oci://{dnf.reference(registry)}", "0")
    result.has(digest).has('"one-1-1.noarch.rpm"').has('"layout" s "archive"')
    call("Inspect", "sa{sv}", "oci://acme", "0", code=1).has("a registry host and a path are required")
    as_nobody = ("setpriv", "--reuid=nobody", "--clear-groups", "busctl")
    address = (NAME, "/io/github/dnf5_oci")
    run(*as_nobody, "call", *address, f"{NAME}.Backend1", "Inspect", "sa{sv}", "oci://localhost/x", "0", code=1)
    run(*as_nobody, "introspect", *address).has(".PrefetchRepodata")
