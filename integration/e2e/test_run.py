"""A run of dnf5 is one session: what it sees, how long it lasts, and how it is interrupted."""

import os
import signal
from pathlib import Path

import pexpect
import pytest

from conftest import CACHE
from harness.commands import processes, run, wait_until
from harness.repository import build
from harness.service import SERVE

QUESTION = r"Is this ok \[y/N\]: "


def start(*arguments):
    """dnf5 on a terminal."""
    return pexpect.spawn("dnf5", list(arguments), encoding="utf-8", timeout=60, dimensions=(50, 200))


def rest(running):
    """Waits for its end; returns the rest of its output."""
    running.expect(pexpect.EOF)
    running.close()
    return running.before


@pytest.fixture
def pushed(dnf, registry):
    """A repository with one package."""
    repository = dnf.repository().add(build("one")).createrepo()
    repository.push(dnf.reference(registry))
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    registry.clear()
    return repository


@pytest.fixture(params=["system", "private"])
def backend(request, dnf):
    dnf.backend(request.param)
    return request.param


def blob(repository, name):
    """The digest of a package, which is also its layer's."""
    return "sha256:" + run("sha256sum", repository.directory / name).output.split()[0]


def test_dnf5_prints_the_first_line(dnf, pushed, fetch):
    for _ in range(2):
        output = dnf("--refresh", "repoquery").has("one-0:1-1.noarch").output
        assert output.startswith("Updating and loading repositories:\n"), output
    dnf.add("tools", "oci://localhost:5021/acme/rpms:1")
    output = dnf("repoquery", code=1).has("connection refused").output
    assert output.startswith("Updating and loading repositories:\n"), output


def test_the_question_comes_before_the_packages(dnf, registry, pushed, backend, installed, fetch):
    package = blob(pushed, "one-1-1.noarch.rpm")
    # With a head start the package is fetched before the question, whatever the answer.
    ahead = 1 if fetch == "eager" else 0
    running = start("install", "one")
    running.expect(QUESTION)
    assert registry.blobs().count(package) == ahead
    running.sendline("n")
    assert "Operation aborted by the user." in rest(running)
    assert running.exitstatus == 1
    assert registry.blobs().count(package) == ahead
    installed.append("one")
    running = start("install", "one")
    running.expect(QUESTION)
    running.sendline("y")
    assert "Complete!" in rest(running)
    assert registry.blobs().count(package) == 1
    assert not list(CACHE.glob("*/packages/*.rpm")), "an installed package is not cached"


def test_what_is_kept_is_not_fetched_again(dnf, registry, pushed, backend, installed, fetch):
    package = blob(pushed, "one-1-1.noarch.rpm")
    dnf("-y", "install", "--downloadonly", "one").has("Complete!")
    assert registry.blobs().count(package) == 1
    installed.append("one")
    dnf("-y", "--setopt=keepcache=1", "install", "one").has("Already downloaded")
    dnf("-y", "reinstall", "one").has("Already downloaded")
    assert registry.blobs().count(package) == 1


def test_a_run_sees_one_manifest_though_the_tag_moves(dnf, registry, pushed, backend, installed, fetch):
    running = start("install", "one")
    running.expect(QUESTION)
    # The tag moves to a repository without the package.
    dnf.repository("other").add(build("two")).createrepo().push(dnf.reference(registry))
    dnf("--refresh", "repoquery").has("two-0:1-1").has_not("one-0:1-1")
    registry.clear()
    installed.append("one")
    running.sendline("y")
    assert "Complete!" in rest(running)
    assert Path("/usr/share/one/file").read_text() == "one 1\n"
    assert registry.manifests() == []


def test_two_runs_at_once_fetch_a_layer_once(dnf, registry, pushed):
    both = [start(f"--setopt=cachedir={CACHE}/{name}", "repoquery") for name in ("one", "other")]
    for running in both:
        assert "one-0:1-1.noarch" in rest(running)
    assert len(registry.blobs()) == 1


def test_the_service_stays_for_a_user_who_thinks(dnf, pushed, impatient, installed):
    running = start("install", "one")
    running.expect(QUESTION)
    serving = processes(*SERVE)
    assert len(serving) == 1
    with pytest.raises(pexpect.TIMEOUT):
        running.expect(pexpect.EOF, timeout=3)
    # It still owns its name on the bus.
    dnf("repoquery")
    assert processes(*SERVE) == serving
    installed.append("one")
    running.sendline("y")
    assert "Complete!" in rest(running)
    wait_until(lambda: not processes(*SERVE), "the service has ended")
    assert not processes("skopeo", "experimental-image-proxy")
    assert not list(Path("/run/dnf5-oci").glob("dnf5-oci-*")), "its socket is removed"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "told-to-stop"])
def test_the_service_ends_while_the_user_thinks(dnf, pushed, backend, how):
    running = start("install", "--downloadonly", "one")
    running.expect(QUESTION)
    [process] = [process for process in processes(*SERVE)
                 if backend == "system" or process in processes("dnf5-oci", "--fd")]
    os.kill(process, how)
    running.sendline("y")
    output = rest(running)
    assert running.exitstatus == 1, output
    lines = [line for line in output.splitlines() if "dnf5-oci service" in line]
    assert len(lines) == 1 and " again" in lines[0], output
    assert not any(path.stat().st_size for path in CACHE.glob("*/packages/*"))
    dnf("-y", "install", "--downloadonly", "one").has("Complete!")
