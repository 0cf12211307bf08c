"""An interrupted download is resumed, and a partial package is never taken for a complete one."""

import os
import re
import signal
import subprocess

import pytest

from conftest import CACHE, insecure
from harness.commands import processes, wait_until
from harness.faulty import flipped
from harness.relay import Relay
from harness.repository import Repository, build

MEGABYTE = 1 << 20
SIZE = 24 * MEGABYTE
SKOPEO = ("skopeo", "experimental-image-proxy")
NAME = "large-1-1.noarch.rpm"
DOWNLOAD = ("-y", "install", "--downloadonly", "large")
ASKED = re.compile(rf'request location="{NAME}" method=GET range=(None|Some\("bytes=(\d+)-"\))')


@pytest.fixture(scope="module")
def relay(registry):
    """A relay in front of the registry."""
    relay = Relay(5010, registry.port)
    insecure("localhost:5010")
    return relay


@pytest.fixture(scope="module")
def whole(registry, relay, tmp_path_factory):
    """The content of the package, which is a layer."""
    repository = Repository(tmp_path_factory.mktemp("large") / "repository")
    repository.add(build("large", size=SIZE)).createrepo().push(f"{registry.address}/acme/large:1")
    return (repository.directory / NAME).read_bytes()


@pytest.fixture(autouse=True)
def tools(dnf, whole, relay):
    relay.rate = None
    dnf.add("tools", "oci://localhost:5010/acme/large:1")
    dnf("makecache")
    relay.rate = 8 * MEGABYTE
    yield
    relay.rate = None


def offsets(service):
    """The offset of each request for the package."""
    return [int(offset or 0) for _, offset in ASKED.findall(service.new())]


def begin(size):
    """Starts dnf5 and waits until it has received `size` bytes of the package."""
    running = subprocess.Popen(["dnf5", *DOWNLOAD], stdin=subprocess.DEVNULL, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    wait_until(lambda: sum(file.stat().st_size for file in here()) > size, "some of it is there")
    return running


def here():
    return list(CACHE.glob(f"tools-*/packages/{NAME}"))


def content():
    [file] = here()
    return file.read_bytes()


def end(running, how):
    running.send_signal(how)
    running.communicate(timeout=60)
    assert running.returncode != 0


def test_dnf5_is_killed(dnf, service, whole, relay):
    end(begin(8 * MEGABYTE), signal.SIGKILL)
    left = len(content())
    assert 8 * MEGABYTE < left < SIZE
    service.clear()
    relay.rate = None
    dnf(*DOWNLOAD).has("Complete!")
    assert content() == whole
    assert offsets(service) == [left]


def test_what_is_there_is_wrong(dnf, whole, relay):
    end(begin(8 * MEGABYTE), signal.SIGKILL)
    [file] = here()
    file.write_bytes(flipped(file.read_bytes()))
    relay.rate = None
    dnf(*DOWNLOAD).has("checksum doesn't match").has("Complete!")
    assert content() == whole


def test_what_is_there_is_passed_over_quickly_or_fetched_again(dnf, service, whole, relay):
    end(begin(16 * MEGABYTE), signal.SIGKILL)
    service.clear()
    # Skipping to the offset takes longer than dnf5 waits for the first byte.
    relay.rate = MEGABYTE // 4
    running = begin(0)
    wait_until(lambda: len(offsets(service)) == 2, "the whole is asked for")
    relay.rate = None
    output, _ = running.communicate(timeout=60)
    assert running.returncode == 0, output
    assert content() == whole
    assert offsets(service)[1:] == [0]


@pytest.mark.parametrize("backend", ["system", "private"])
def test_dnf5_is_interrupted(dnf, service, whole, relay, backend):
    dnf.backend(backend)
    end(begin(8 * MEGABYTE), signal.SIGINT)
    assert here() == [], "dnf5 itself cleans up"
    wait_until(lambda: not processes("dnf5-oci", "--fd"), "no private instance is left")
    # Data that is in flight may still arrive.
    wait_until(relay.is_quiet, "the registry is left alone")
    relay.rate = None
    dnf(*DOWNLOAD).has("Complete!")
    assert content() == whole


def test_the_service_is_killed(dnf, service, whole, relay):
    running = begin(8 * MEGABYTE)
    service.process.kill()
    wait_until(lambda: not processes(*SKOPEO), "skopeo dies with the service")
    output, _ = running.communicate(timeout=60)
    service.stop()
    service.start()
    assert running.returncode == 1, output
    assert output.count("the dnf5-oci service that served this command has ended") == 1, output
    assert here() == [], "dnf5 itself cleans up"
    relay.rate = None
    dnf(*DOWNLOAD).has("Complete!")
    assert content() == whole


def test_skopeo_is_killed(service, whole):
    service.clear()
    running = begin(8 * MEGABYTE)
    for process in processes(*SKOPEO):
        os.kill(process, signal.SIGKILL)
    output, _ = running.communicate(timeout=60)
    assert running.returncode == 0, output
    assert content() == whole
    assert offsets(service) == [0], "the service resumes by itself"


def test_the_connection_is_cut(dnf, service, whole, relay):
    service.clear()
    relay.rate = None
    relay.cut = 12 * MEGABYTE
    dnf(*DOWNLOAD).has("Complete!").has_not(">>>")
    assert relay.cut is None
    assert content() == whole
    assert offsets(service) == [0], "the service resumes by itself"


def test_other_bytes_at_the_beginning_are_not_taken_for_its_own(dnf, service, whole, relay):
    end(begin(8 * MEGABYTE), signal.SIGKILL)
    [file] = here()
    with file.open("r+b") as changed:
        changed.write(b"other bytes")
    service.clear()
    relay.rate = None
    dnf(*DOWNLOAD).has("checksum doesn't match").has("Complete!")
    assert content() == whole
    first, second = offsets(service)
    assert first > 8 * MEGABYTE and second == 0
