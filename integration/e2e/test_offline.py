"""Transactions that are prepared now and run at the next start of the machine."""

import os
import re
import shutil
from pathlib import Path

import pytest

from conftest import CACHE, REPOS
from harness.commands import run
from harness.repository import Repository, build
from harness.sides import OverHttp, OverOci, World

OFFLINE = Path("/usr/lib/sysimage/libdnf5/offline")
TRIGGER = Path("/system-update")
STORED = Path("/tmp/stored")

# The root is of no release, which dnf5 wants to note.
RELEASE = ("--releasever=41",)

# Nothing is restarted here.
STAYS = os.environ | {"DNF_SYSTEM_UPGRADE_NO_REBOOT": "1"}


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    repository = Repository(tmp_path_factory.mktemp("repository") / "repository")
    for package in (build("app", "1"), build("app", "2"), build("more")):
        repository.add(package)
    return repository.describe()


def start_anew(world):
    """What happens when the machine has been started, with nobody to ask."""
    TRIGGER.symlink_to(OFFLINE)
    [state] = OFFLINE.glob("*state.toml")
    state.write_text(re.sub(r'status = "\S+"', 'status = "ready"', state.read_text()))
    world.side.down()
    try:
        world.dnf("offline", "_execute", env=STAYS)
        assert world.side.asked() == []
    finally:
        world.side.up()


def upgrade(world):
    world.add()
    world.dnf(*RELEASE, "-y", "upgrade", "--offline")
    world.dnf("offline", "status")
    start_anew(world)
    world.dnf("offline", "status")


def install(world):
    world.add()
    world.dnf(*RELEASE, "-y", "install", "--offline", "more")
    world.dnf("offline", "clean")
    world.dnf("offline", "status")


def store(world):
    world.add()
    world.dnf("-y", "install", "more", f"--store={STORED}")
    world.side.down()
    try:
        world.dnf("-y", "replay", str(STORED))
        assert world.side.asked() == []
    finally:
        world.side.up()


def system_upgrade(world):
    world.add(url=world.side.url.replace("42", "$releasever"))
    world.dnf("-y", "system-upgrade", "download", "--releasever=42")
    world.dnf("system-upgrade", "status")
    start_anew(world)


def told(side, story, repository):
    side.publish(repository)
    world = World(side, CACHE, REPOS)
    run("rpm", "-i", build("app", "1"))
    try:
        story(world)
        world.tell_cache()
        world.tell(run("rpm", "-q", "app", "more", code=None).output)
        world.tell("stored: " + ", ".join(sorted(str(path) for path in OFFLINE.rglob("*"))))
    finally:
        for name in ("app", "more"):
            run("rpm", "-e", name, code=None)
        for directory in (OFFLINE, STORED):
            shutil.rmtree(directory, ignore_errors=True)
        TRIGGER.unlink(missing_ok=True)
    return str(world)


@pytest.mark.parametrize("story", [upgrade, install, store, system_upgrade])
def test_as_for_http(web, registry, service, repository, story):
    expected = told(OverHttp(web, "release-42"), story, repository)
    for layout in ("dirs", "files"):
        assert told(OverOci(registry, service, "release-42", layout), story, repository) == expected
