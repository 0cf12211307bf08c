"""What skopeo, and a thread that unpacks a layer, can do if a registry takes control of it."""

import shutil
from pathlib import Path

import pytest

from conftest import PRIVATE
from harness.commands import processes, wait_until
from harness.repository import build
from harness.service import stop_services

SKOPEO = Path("/usr/bin/skopeo")
REAL = Path("/usr/bin/skopeo.real")
WRITTEN = [Path(top) / "written-by-skopeo" for top in (
    "/tmp", "/var/tmp", "/root", "/run", "/etc", "/var/cache/libdnf5", "/var/cache/dnf5-oci", "/dev/shm")]


@pytest.fixture
def turned():
    """A skopeo that first tries to do harm."""
    shutil.move(SKOPEO, REAL)
    attempts = "\n".join(f"echo x >{path} && echo x >>/dev/null" for path in WRITTEN)
    SKOPEO.write_text(f"#!/bin/bash\n{attempts}\nkill -KILL $PPID\ncat /etc/hostname >/dev/null || exit 1\n"
                      f'exec {REAL} "$@"\n')
    SKOPEO.chmod(0o755)
    yield
    shutil.move(REAL, SKOPEO)
    for path in WRITTEN:
        path.unlink(missing_ok=True)


@pytest.mark.parametrize("backend", ["system", "private"])
def test_skopeo_writes_nothing_and_signals_no_one(dnf, registry, turned, backend):
    dnf.backend(backend)
    dnf.repository().add(build("one")).createrepo().push(dnf.reference(registry))
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    Path("/var/cache/dnf5-oci").mkdir(exist_ok=True)
    dnf("repoquery").has("one-0:1-1.noarch")
    assert not [path for path in WRITTEN if path.exists()]
    stop_services()
    wait_until(lambda: not processes(*PRIVATE), "the private instance has ended")
