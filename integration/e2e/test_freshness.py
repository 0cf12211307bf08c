"""When metadata and packages are requested again: as for any repository.

Each scenario runs with a repository on a web server and with the same one in a registry; dnf5's output
and requests must be the same for each command. The registry is asked for the tag's manifest when a web
server is asked for repomd.xml, and for nothing when it is not.
"""

import os

import pytest

from conftest import CACHE, REPOS
from harness.commands import run
from harness.repository import Repository, build
from harness.sides import Machine, OverHttp, OverOci

HOUR = 3600
LONG = 10_000 * HOUR

DOWNLOAD = ("-y", "install", "--downloadonly", "one")


@pytest.fixture(scope="module")
def repositories(tmp_path_factory):
    """A repository before and after a package has been added."""
    top = tmp_path_factory.mktemp("repositories")
    before = Repository(top / "before").add(build("one")).createrepo()
    after = Repository(top / "after").add(build("one")).add(build("two")).createrepo()
    return before, after


def refresh(machine, change):
    machine.add()
    machine.dnf("repoquery")
    machine.dnf("repoquery")
    machine.dnf("--refresh", "repoquery")
    change()
    machine.dnf("repoquery").has_not("two-0:1-1")
    machine.dnf("--refresh", "repoquery").has("two-0:1-1")
    machine.dnf("repoquery").has("two-0:1-1")
    machine.dnf("--refresh", "makecache")


def expire_at_once(machine, change):
    machine.add(metadata_expire="0")
    machine.dnf("repoquery")
    machine.dnf("repoquery")
    change()
    machine.dnf("repoquery").has("two-0:1-1")


def expire_in_an_hour(machine, change):
    machine.add(metadata_expire="1h")
    machine.dnf("repoquery")
    change()
    machine.age(HOUR / 2)
    machine.dnf("repoquery").has_not("two-0:1-1")
    machine.age(2 * HOUR)
    machine.dnf("repoquery").has("two-0:1-1")
    machine.dnf("repoquery")
    # Unchanged metadata counts as new again.
    machine.age(2 * HOUR)
    machine.dnf("repoquery")
    machine.dnf("repoquery")


def never_expire(machine, change):
    machine.add(metadata_expire="-1")
    machine.dnf("repoquery")
    change()
    machine.age(LONG)
    machine.dnf("repoquery").has_not("two-0:1-1")
    machine.dnf("--refresh", "repoquery").has("two-0:1-1")


def newer_repo_file(machine, change):
    machine.add()
    machine.dnf("repoquery")
    change()
    machine.age(HOUR)
    machine.dnf("repoquery").has_not("two-0:1-1")
    os.utime(REPOS / "tools.repo")
    machine.dnf("repoquery").has("two-0:1-1")
    machine.dnf("repoquery")


def clean(what):
    def scenario(machine, change):
        machine.add(keepcache=1)
        machine.dnf(*DOWNLOAD)
        machine.dnf("clean", what)
        machine.record_cache()
        machine.dnf(*DOWNLOAD)
        machine.record_cache()
        change()
        machine.dnf("clean", what)
        machine.dnf("repoquery")
    return scenario


def cache_only(machine, change):
    machine.add(keepcache=1, metadata_expire=0)
    machine.dnf("-C", "repoquery")
    machine.dnf("--setopt=cacheonly=metadata", "repoquery")
    machine.dnf(*DOWNLOAD)
    change()
    machine.age(LONG)
    for option in ("-C", "--setopt=cacheonly=metadata"):
        machine.dnf(option, "repoquery").has_not("two-0:1-1")
        machine.dnf(option, *DOWNLOAD).has("Already downloaded")
        assert machine.side.requested() == []
    machine.dnf("clean", "packages")
    machine.dnf("-C", *DOWNLOAD).has("cacheonly option is activated")
    machine.dnf("--setopt=cacheonly=metadata", *DOWNLOAD)


def nobody_is_there(machine, _change):
    """The metadata is stale, and the server or registry is down."""
    machine.add(metadata_expire=0)
    machine.dnf("repoquery")
    machine.age(LONG)
    run("rpm", "-i", build("one"))
    machine.side.down()
    try:
        for command in (["list", "--installed", "one"], ["repo", "list"], ["repo", "list", "--all"],
                        ["-y", "remove", "one"], ["-y", "remove", "one"], ["history", "list"],
                        ["clean", "packages"], ["-C", "repoquery"]):
            machine.dnf(*command).has_not("refused").has_not("Status code")
            assert machine.side.requested() == []
    finally:
        machine.side.up()


SCENARIOS = {
    "refresh": refresh,
    "expire-0": expire_at_once,
    "expire-1h": expire_in_an_hour,
    "expire-never": never_expire,
    "newer-repo-file": newer_repo_file,
    "clean-expire-cache": clean("expire-cache"),
    "clean-metadata": clean("metadata"),
    "clean-packages": clean("packages"),
    "clean-dbcache": clean("dbcache"),
    "clean-all": clean("all"),
    "cacheonly": cache_only,
    "nobody-is-there": nobody_is_there,
}


def transcript(side, scenario, repositories):
    """Runs a scenario with one of the repositories."""
    before, after = repositories
    side.publish(before)
    machine = Machine(side, CACHE, REPOS)
    SCENARIOS[scenario](machine, lambda: side.publish(after))
    return str(machine)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_as_for_http(web, registry, service, repositories, scenario):
    expected = transcript(OverHttp(web, "repository"), scenario, repositories)
    for layout in ("dirs", "files"):
        assert transcript(OverOci(registry, service, scenario, layout), scenario, repositories) == expected


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_ahead_of_dnf5(registry, service, repositories, scenario, eager):
    """The checks in the scenarios also hold when the service fetches ahead of dnf5."""
    sides = [OverOci(registry, service, f"ahead-{scenario}", layout, "eager") for layout in ("dirs", "files")]
    first, second = (transcript(side, scenario, repositories) for side in sides)
    assert first == second
