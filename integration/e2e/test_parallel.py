"""Packages are asked for side by side: far away it is their number at a time that counts."""

import threading

import pytest

from conftest import insecure
from harness.relay import Relay
from harness.repository import build

SIDE_BY_SIDE = 6
PACKAGES = 2 * SIDE_BY_SIDE
PORT = 5001


class Gathering(Relay):
    """Holds requests for packages back until so many of them are under way."""

    def __init__(self, port, target, packages):
        self.packages = [f"/blobs/{digest}".encode() for digest in packages]
        # For a failure: whoever waits for others that never come.
        self.barrier = threading.Barrier(SIDE_BY_SIDE, timeout=20)
        super().__init__(port, target)

    def pass_on(self, source, sink):
        try:
            while data := source.recv(65536):
                if any(path in data for path in self.packages):
                    self.barrier.wait()
                sink.sendall(data)
        except (OSError, threading.BrokenBarrierError):
            pass


@pytest.fixture
def packages(dnf, registry):
    """Their digests, which are their checksums."""
    repository = dnf.repository()
    for number in range(PACKAGES):
        repository.add(build(f"package-{number}"))
    repository.describe().push(dnf.reference(registry))
    registry.clear()
    dnf.add("near", f"oci://{dnf.reference(registry)}")
    dnf("-y", "install", "--downloadonly", "package-*")
    return registry.blobs()[1:]


def test_packages_are_asked_for_side_by_side(dnf, registry, packages):
    assert len(packages) == PACKAGES
    relay = Gathering(PORT, registry.port, packages)
    insecure(f"localhost:{PORT}")
    reference = dnf.reference(registry).replace(registry.address, f"localhost:{PORT}")
    dnf.add("far", f"oci://{reference}")
    dnf("-y", "--repo=far", "install", "--downloadonly", "package-*")
    assert not relay.barrier.broken
    assert len([name for name in dnf.cached("far") if name.endswith(".rpm")]) == PACKAGES
