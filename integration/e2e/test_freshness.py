"""What is asked for again, and when, is what it is for any repository.

Each story happens to a repository at a web server and to the same one in a registry; what dnf5
prints and asks for, command by command, must be the same. The registry is asked what the tag leads
to where a web server is asked for repomd.xml, and for nothing where that is not.
"""

import os

import pytest

from conftest import CACHE, REPOS
from harness.commands import run
from harness.repository import Repository, build
from harness.sides import OverHttp, OverOci, World

HOUR = 3600
LONG = 10_000 * HOUR

DOWNLOAD = ("-y", "install", "--downloadonly", "one")


@pytest.fixture(scope="module")
def repositories(tmp_path_factory):
    """A repository before and after a package was added."""
    top = tmp_path_factory.mktemp("repositories")
    before = Repository(top / "before").add(build("one")).describe()
    after = Repository(top / "after").add(build("one")).add(build("two")).describe()
    return before, after


def refresh(world, change):
    world.add()
    world.dnf("repoquery")
    world.dnf("repoquery")
    world.dnf("--refresh", "repoquery")
    change()
    world.dnf("repoquery").has_not("two-0:1-1")
    world.dnf("--refresh", "repoquery").has("two-0:1-1")
    world.dnf("repoquery").has("two-0:1-1")
    world.dnf("--refresh", "makecache")


def expire_at_once(world, change):
    world.add(metadata_expire="0")
    world.dnf("repoquery")
    world.dnf("repoquery")
    change()
    world.dnf("repoquery").has("two-0:1-1")


def expire_in_an_hour(world, change):
    world.add(metadata_expire="1h")
    world.dnf("repoquery")
    change()
    world.age(HOUR / 2)
    world.dnf("repoquery").has_not("two-0:1-1")
    world.age(2 * HOUR)
    world.dnf("repoquery").has("two-0:1-1")
    world.dnf("repoquery")
    # The same metadata again are young again.
    world.age(2 * HOUR)
    world.dnf("repoquery")
    world.dnf("repoquery")


def never_expire(world, change):
    world.add(metadata_expire="-1")
    world.dnf("repoquery")
    change()
    world.age(LONG)
    world.dnf("repoquery").has_not("two-0:1-1")
    world.dnf("--refresh", "repoquery").has("two-0:1-1")


def newer_repo_file(world, change):
    world.add()
    world.dnf("repoquery")
    change()
    world.age(HOUR)
    world.dnf("repoquery").has_not("two-0:1-1")
    os.utime(REPOS / "tools.repo")
    world.dnf("repoquery").has("two-0:1-1")
    world.dnf("repoquery")


def clean(what):
    def story(world, change):
        world.add(keepcache=1)
        world.dnf(*DOWNLOAD)
        world.dnf("clean", what)
        world.tell_cache()
        world.dnf(*DOWNLOAD)
        world.tell_cache()
        change()
        world.dnf("clean", what)
        world.dnf("repoquery")
    return story


def cache_only(world, change):
    world.add(keepcache=1, metadata_expire=0)
    world.dnf("-C", "repoquery")
    world.dnf("--setopt=cacheonly=metadata", "repoquery")
    world.dnf(*DOWNLOAD)
    change()
    world.age(LONG)
    for option in ("-C", "--setopt=cacheonly=metadata"):
        world.dnf(option, "repoquery").has_not("two-0:1-1")
        world.dnf(option, *DOWNLOAD).has("Already downloaded")
        assert world.side.asked() == []
    world.dnf("clean", "packages")
    world.dnf("-C", *DOWNLOAD).has("cacheonly option is activated")
    world.dnf("--setopt=cacheonly=metadata", *DOWNLOAD)


def nobody_is_there(world, _change):
    """With stale metadata, and the web server or the registry down."""
    world.add(metadata_expire=0)
    world.dnf("repoquery")
    world.age(LONG)
    run("rpm", "-i", build("one"))
    world.side.down()
    try:
        for command in (["list", "--installed", "one"], ["repo", "list"], ["repo", "list", "--all"],
                        ["-y", "remove", "one"], ["-y", "remove", "one"], ["history", "list"],
                        ["clean", "packages"], ["-C", "repoquery"]):
            world.dnf(*command).has_not("refused").has_not("Status code")
            assert world.side.asked() == []
    finally:
        world.side.up()


STORIES = {
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


def told(side, story, repositories):
    """What happens at one side."""
    before, after = repositories
    side.publish(before)
    world = World(side, CACHE, REPOS)
    STORIES[story](world, lambda: side.publish(after))
    return str(world)


@pytest.mark.parametrize("story", STORIES)
def test_as_for_http(web, registry, service, repositories, story):
    expected = told(OverHttp(web, "repository"), story, repositories)
    for layout in ("dirs", "files"):
        assert told(OverOci(registry, service, story, layout), story, repositories) == expected
