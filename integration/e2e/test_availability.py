"""Unavailable repositories: dnf5 fails or continues as with any other, and prints the reason once."""

import re

import pytest

from conftest import CACHE, REPOS, insecure
from harness.commands import run
from harness.lines import as_text, normalize, replace_url, split_output
from harness.registry import Registry
from harness.repository import Repository, build
from harness.sides import Machine, OverHttp, OverOci
from harness.web import Web

LONG = 10_000 * 3600

COMMANDS = [
    ["repoquery"],
    ["-y", "install", "--downloadonly", "one"],
    ["-y", "install", "--downloadonly", "two"],
    ["makecache"],
    ["list", "--installed", "no-such"],
]

# The transports fail in different ways: the web server refuses the connection, and our service answers
# that the registry refuses it.
TRANSPORT = re.compile(r">>> (Curl error|Status code).*\n")


@pytest.fixture(scope="module")
def sides(web, registry, service, tmp_path_factory):
    """For each kind, a repository that stays available and one that does not."""
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
    one = Repository(top / "one").add(build("one")).createrepo()
    two = Repository(top / "two").add(build("two")).createrepo()
    for stays, goes in sides.values():
        stays.publish(one)
        goes.publish(two)


def transcript(stays, goes, cached, options):
    """Runs the commands; returns their output without our lines, and our lines."""
    machine = Machine(stays, CACHE, REPOS)
    machine.add("stays")
    machine.add("goes", url=goes.url, **options)
    if cached:
        machine.dnf("repoquery").has("two-0:1-1")
        machine.age(LONG)
    goes.down()
    try:
        results = [run("dnf5", *command, code=None) for command in COMMANDS]
    finally:
        goes.up()
    return [same(result, stays, goes) for result in results], [split_output(result.output)[1] for result in results]


def same(result, stays, goes):
    """The part of a command's output that must be the same for both."""
    theirs, _ = split_output(TRANSPORT.sub("", result.output))
    return as_text(result.arguments[1:], result.code, *normalize(replace_url(theirs, goes.url, "GOES"), stays.url))


@pytest.mark.parametrize("cached", [False, True], ids=["no-cache", "stale-cache"])
@pytest.mark.parametrize("skip", [0, 1])
def test_one_of_two_is_down(sides, repositories, cached, skip):
    options = {"skip_if_unavailable": skip}
    expected, _ = transcript(*sides["http"], cached, options)
    found, ours = transcript(*sides["oci"], cached, options)
    assert found == expected
    assert ours[-1] == [], "a command that needs no repository"
    for lines in ours[:-1]:
        assert len(lines) == 1, lines
        assert lines[0].startswith("repository goes oci://")
        assert "connection refused; check the network" in lines[0]


@pytest.mark.parametrize("reference", ["oci://acme/rpms", "oci://localhost:5000/acme/$unset/", "oci://"])
def test_a_reference_that_is_none(dnf, service, reference):
    dnf.add("tools", reference)
    line = f'repository tools: invalid reference "{reference}"'
    dnf("repoquery", code=1).has(line)
    assert dnf("--setopt=tools.skip_if_unavailable=1", "repoquery").output.count(line) == 1
    for command in (["list", "--installed"], ["repo", "list"]):
        dnf(*command, code=None).has_not("invalid reference")
