"""Transactions that are prepared now and run when the machine starts the next time."""

import os
import re
import shutil
from pathlib import Path

import pytest

from conftest import CACHE, REPOS
from harness.commands import run
from harness.repository import Repository, build
from harness.sides import Machine, OverHttp, OverOci

OFFLINE = Path("/usr/lib/sysimage/libdnf5/offline")
TRIGGER = Path("/system-update")
STORED = Path("/tmp/stored")

# The root has no release, but dnf5 records one.
RELEASE = ("--releasever=41",)

# There is no machine to restart.
STAYS = os.environ | {"DNF_SYSTEM_UPGRADE_NO_REBOOT": "1"}


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    repository = Repository(tmp_path_factory.mktemp("repository") / "repository")
    for package in (build("app", "1"), build("app", "2"), build("more")):
        repository.add(package)
    return repository.createrepo()


def start_anew(machine):
    """Runs the transaction as at the start of the machine, without a network."""
    TRIGGER.symlink_to(OFFLINE)
    [state] = OFFLINE.glob("*state.toml")
    state.write_text(re.sub(r'status = "\S+"', 'status = "ready"', state.read_text()))
    machine.side.down()
    try:
        machine.dnf("offline", "_execute", env=STAYS)
        assert machine.side.requested() == []
    finally:
        machine.side.up()


def upgrade(machine):
    machine.add()
    machine.dnf(*RELEASE, "-y", "upgrade", "--offline")
    machine.dnf("offline", "status")
    start_anew(machine)
    machine.dnf("offline", "status")


def install(machine):
    machine.add()
    machine.dnf(*RELEASE, "-y", "install", "--offline", "more")
    machine.dnf("offline", "clean")
    machine.dnf("offline", "status")


def store(machine):
    machine.add()
    machine.dnf("-y", "install", "more", f"--store={STORED}")
    machine.side.down()
    try:
        machine.dnf("-y", "replay", str(STORED))
        assert machine.side.requested() == []
    finally:
        machine.side.up()


def system_upgrade(machine):
    machine.add(url=machine.side.url.replace("42", "$releasever"))
    machine.dnf("-y", "system-upgrade", "download", "--releasever=42")
    machine.dnf("system-upgrade", "status")
    start_anew(machine)


def transcript(side, scenario, repository):
    side.publish(repository)
    machine = Machine(side, CACHE, REPOS)
    run("rpm", "-i", build("app", "1"))
    try:
        scenario(machine)
        machine.record_cache()
        machine.record(run("rpm", "-q", "app", "more", code=None).output)
        machine.record("stored: " + ", ".join(sorted(str(path) for path in OFFLINE.rglob("*"))))
    finally:
        for name in ("app", "more"):
            run("rpm", "-e", name, code=None)
        for directory in (OFFLINE, STORED):
            shutil.rmtree(directory, ignore_errors=True)
        TRIGGER.unlink(missing_ok=True)
    return str(machine)


@pytest.mark.parametrize("scenario", [upgrade, install, store, system_upgrade])
def test_as_for_http(web, registry, service, repository, scenario):
    expected = transcript(OverHttp(web, "release-42"), scenario, repository)
    for layout in ("dirs", "files"):
        assert transcript(OverOci(registry, service, "release-42", layout), scenario, repository) == expected


@pytest.mark.parametrize("scenario", [upgrade, install, store, system_upgrade])
def test_ahead_of_dnf5(registry, service, repository, scenario, eager):
    first, second = (transcript(OverOci(registry, service, "release-42", layout, "eager"), scenario, repository)
                     for layout in ("dirs", "files"))
    assert first == second
    assert not re.search("requested: .", first), first
