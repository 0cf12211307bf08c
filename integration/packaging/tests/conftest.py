"""The machine that the packages are tested on: a fresh root, below systemd."""

from pathlib import Path

import pytest

import steps
from harness.registry import Registry

# What `make dist`, `make rpm` and `make deb` have made.
PACKAGES = Path("/packages")


def pytest_configure():
    Path("/etc/dnf/dnf.conf").write_text("[main]\ngpgcheck=False\nskip_if_unavailable=False\n")
    steps.REPOS.mkdir(parents=True, exist_ok=True)


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """A registry without TLS or users."""
    running = Registry(tmp_path_factory.mktemp("registry"), 5000).start()
    steps.insecure(running.address)
    yield running
    running.stop()
