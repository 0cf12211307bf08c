"""A repository that cannot be had: dnf5 ends or goes on as with any other, and says why, once."""

import re

import pytest

from conftest import CACHE, REPOS, insecure
from harness.commands import run
from harness.lines import normal, pretty
from harness.registry import Registry
from harness.repository import Repository, build
from harness.sides import OverHttp, OverOci, World
from harness.web import Web

LONG = 10_000 * 3600

COMMANDS = [
    ["repoquery"],
    ["-y", "install", "--downloadonly", "one"],
    ["-y", "install", "--downloadonly", "two"],
    ["makecache"],
    ["list", "--installed", "no-such"],
]

# How the transport has failed differs: a web server takes no connection, and our service answers
# that a registry takes none. How many bytes of that answer there were is in the bar.
TRANSPORT = re.compile(r">>> (Curl error|Status code)")
LINE = re.compile(r"(?:>>> )?repository (\S+) oci://\S+: .*connection refused; check the network")


@pytest.fixture(scope="module")
def sides(web, registry, service, tmp_path_factory):
    """For each kind, a repository that stays there and one that does not."""
    own_web = Web(tmp_path_factory.mktemp("own-web") / "served", 8081).start()
    own_registry = Registry(tmp_path_factory.mktemp("own-registry"), 5020).start()
    insecure(own_registry.address)
    yield {
        "http": (OverHttp(web, "stays"), OverHttp(own_web, "goes")),
        "oci": (OverOci(registry, service, "stays", "dirs"),
                OverOci(own_registry, service, "goes", "dirs")),
    }
    own_web.stop()
    own_registry.stop()


@pytest.fixture(scope="module")
def repositories(sides, tmp_path_factory):
    top = tmp_path_factory.mktemp("repositories")
    one = Repository(top / "one").add(build("one")).describe()
    two = Repository(top / "two").add(build("two")).describe()
    for stays, goes in sides.values():
        stays.publish(one)
        goes.publish(two)


def told(stays, goes, cached, options):
    """What the commands print; and for each, which repositories our own lines are about."""
    world = World(stays, CACHE, REPOS)
    world.add("stays")
    world.add("goes", url=goes.url, **options)
    if cached:
        world.dnf("repoquery").has("two-0:1-1")
        world.age(LONG)
    goes.down()
    try:
        results = [run("dnf5", *command, code=None) for command in COMMANDS]
    finally:
        goes.up()
    return [same(result, stays, goes) for result in results], [LINE.findall(result.output) for result in results]


def same(result, stays, goes):
    """What must be the same in the output of one command."""
    lines = [line for line in result.output.splitlines()
             if not TRANSPORT.match(line) and not LINE.match(line)]
    text = "\n".join(lines).replace(goes.where, "GOES").replace(goes.url, "GOES")
    lines, bars = normal(text, stays.url)
    # Our own lines have bars, which end at once.
    bars = [bar for bar in bars if bar.split()[0] != "dnf5-oci"]
    return pretty(result.arguments[1:], result.code, lines, bars)


@pytest.mark.parametrize("cached", [False, True], ids=["no-cache", "stale-cache"])
@pytest.mark.parametrize("skip", [0, 1])
def test_one_of_two_is_down(sides, repositories, cached, skip):
    options = {"skip_if_unavailable": skip}
    expected, _ = told(*sides["http"], cached, options)
    found, lines = told(*sides["oci"], cached, options)
    assert found == expected
    # Where dnf5 meets it, there is one line, wherever dnf5 prints it.
    assert lines == [["goes"]] * 4 + [[]]
