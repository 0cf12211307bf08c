"""dnf5, the service or skopeo is killed at a random instant, again and again.

Whatever is killed, nothing hangs, the user sees no crash, the next run succeeds, and the cache then has only
whole and right files. `KILLS` is how often in total, and `SEED` repeats a run; both are printed on failure.
"""

import hashlib
import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from conftest import CACHE, PRIVATE
from harness.commands import processes, run, wait_until
from harness.repository import build
from harness.service import SERVE, stop_services

KILLS = int(os.environ.get("KILLS", "50"))
SEED = int(os.environ.get("SEED", random.randrange(1 << 32)))

VICTIMS = {"dnf5": ("dnf5", "install"), "service": SERVE, "skopeo": ("skopeo", "experimental-image-proxy")}
NAMES = [f"package{number}" for number in range(6)]
LAYOUTS = ("dirs", "files")
STORE = Path("/var/cache/dnf5-oci")
TEMPORARY = (Path("/tmp"), Path("/run/dnf5-oci"))


@pytest.fixture(scope="module", autouse=True)
def seed():
    print(f"SEED={SEED} KILLS={KILLS}")


@pytest.fixture
def versions(dnf, registry):
    """References to two versions of a repository, and the checksums of their packages."""
    found = []
    for version in ("1", "2"):
        repository = dnf.repository(version)
        for name in NAMES:
            repository.add(build(name, version, size=300_000))
        repository.createrepo()
        repository.push(dnf.reference(registry, f"dirs-{version}"), "repodata", *[p.name for p in rpms(repository)])
        repository.push_files(dnf.reference(registry, f"files-{version}"))
        found.append({path.name: digest(path) for path in rpms(repository)})
    return found


def rpms(repository):
    return sorted(repository.directory.glob("*.rpm"))


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def install():
    """Starts dnf5 as a user would."""
    return subprocess.Popen(["dnf5", "-y", "--refresh", "install", "--downloadonly", *NAMES], text=True,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def kill(victim):
    for process in processes(*VICTIMS[victim]):
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            pass


def left_in_temporary():
    """Directories of services that have ended; one that runs has a gateway."""
    return [path for top in TEMPORARY if top.is_dir() for path in top.glob("dnf5-oci-*") if path.is_dir()]


@pytest.mark.parametrize("backend", ["system", "private"])
def test_kills(dnf, registry, versions, fetch, backend):
    chance = random.Random(f"{SEED} {backend} {fetch}")
    dnf.backend(backend)
    begin = time.monotonic()
    refresh(dnf, registry, chance, versions)
    usual = time.monotonic() - begin
    for number in range(max(1, KILLS // 4)):
        victim, after = chance.choice(list(VICTIMS)), chance.uniform(0, usual)
        story = f"SEED={SEED} kill {number}: {victim} after {after:.3f} s"
        if chance.random() < 0.3:
            run("rm", "-rf", *CACHE.glob("tools-*"), STORE)
        publish(dnf, registry, chance)
        running = install()
        time.sleep(after)
        kill(victim)
        try:
            output, _ = running.communicate(timeout=90)
        except subprocess.TimeoutExpired:
            running.kill()
            raise AssertionError(f"{story}: dnf5 hangs") from None
        expected = {0, 1} | ({-signal.SIGKILL} if victim == "dnf5" else set())
        assert running.returncode in expected, f"{story}: {running.returncode}\n{output}"
        assert not re.search("terminate called|panicked|backtrace|Aborted", output), f"{story}\n{output}"
        try:
            refresh(dnf, registry, chance, versions)
        except AssertionError as failure:
            raise AssertionError(f"{story}\n{output}\n{failure}") from failure
    stop_services()
    wait_until(lambda: not processes(*VICTIMS["skopeo"]) and not processes(*PRIVATE), "all have ended")


def publish(dnf, registry, chance):
    """Lets the .repo file lead to one of the repositories."""
    tag = f"{chance.choice(LAYOUTS)}-{chance.choice('12')}"
    dnf.add("tools", f"oci://{dnf.reference(registry, tag)}")
    return int(tag[-1]) - 1


def refresh(dnf, registry, chance, versions):
    """A run that nothing disturbs, and what it must leave."""
    wanted = versions[publish(dnf, registry, chance)]
    running = install()
    output, _ = running.communicate(timeout=90)
    assert running.returncode == 0, output
    for name, checksum in wanted.items():
        right = [path for path in CACHE.glob(f"tools-*/packages/{name}") if digest(path) == checksum]
        assert right, f"{name} is missing or wrong\n{output}"
        for path in right:
            path.unlink()
    for top in CACHE.glob("tools-*"):
        assert not list(top.glob(".dnf5-oci-next")), output
        if (top / "repodata").exists():
            listed = re.findall(r'href="(repodata/[^"]+)"', (top / "repodata/repomd.xml").read_text())
            assert listed and all((top / path).exists() for path in listed if "primary" in path), (top, listed)
    # What was killed has left something at most until the next one.
    assert len(left_in_temporary()) <= 3, left_in_temporary()
