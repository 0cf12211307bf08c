"""Packages are requested in parallel, which matters most for a distant registry."""

import threading
import time

import pytest

from conftest import insecure
from harness.relay import Relay
from harness.repository import build

SIDE_BY_SIDE = 6
PACKAGES = 2 * SIDE_BY_SIDE
PORT = 5001


class Holding(Relay):
    """A relay that holds each request for a package before it passes it on."""

    def __init__(self, port, target, packages):
        self.packages = [f"/blobs/{digest}".encode() for digest in packages]
        super().__init__(port, target)

    def pass_on(self, source, sink):
        try:
            while data := source.recv(65536):
                if any(path in data for path in self.packages):
                    self.hold()
                sink.sendall(data)
        except (OSError, threading.BrokenBarrierError):
            pass


class Gathering(Holding):
    """Holds requests for packages until a number of them are waiting."""

    # Seconds to wait for others, before the test fails.
    barrier = threading.Barrier(SIDE_BY_SIDE, timeout=20)

    def hold(self):
        self.barrier.wait()


class Counting(Holding):
    """Holds requests for packages for a moment, and records how many were held at once."""

    now = most = 0

    def hold(self):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.2)
        with self.lock:
            self.now -= 1


@pytest.fixture
def packages(dnf, registry):
    """The digests of the packages' layers, which are the packages' checksums."""
    repository = dnf.repository()
    for number in range(PACKAGES):
        repository.add(build(f"package-{number}"))
    repository.createrepo().push(dnf.reference(registry))
    registry.clear()
    dnf.add("near", f"oci://{dnf.reference(registry)}")
    dnf("-y", "install", "--downloadonly", "package-*")
    return registry.blobs()[1:]


def far(dnf, registry, port, **options):
    """Adds the repository through a relay."""
    insecure(f"localhost:{port}")
    reference = dnf.reference(registry).replace(registry.address, f"localhost:{port}")
    dnf.add("far", f"oci://{reference}", **options)


def test_packages_are_asked_for_side_by_side(dnf, registry, packages):
    assert len(packages) == PACKAGES
    relay = Gathering(PORT, registry.port, packages)
    far(dnf, registry, PORT)
    dnf("-y", "--repo=far", "install", "--downloadonly", "package-*")
    assert not relay.barrier.broken
    assert len([name for name in dnf.cached("far") if name.endswith(".rpm")]) == PACKAGES


@pytest.mark.parametrize("option", ["max_parallel_downloads", "max_downloads_per_mirror"])
def test_no_more_than_the_user_wants(dnf, registry, packages, option):
    port = PORT + len(option)
    relay = Counting(port, registry.port, packages)
    far(dnf, registry, port, **{option: 2})
    dnf("-y", "--repo=far", "install", "--downloadonly", "package-*")
    assert len([name for name in dnf.cached("far") if name.endswith(".rpm")]) == PACKAGES
    assert 1 <= relay.most <= 2
