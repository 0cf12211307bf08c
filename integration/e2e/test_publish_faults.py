"""Publishing through limits and faults: it rides them out, or says in one line what is wrong."""

import random
import signal
import subprocess
import time

import pytest

from harness import publishing
from harness.commands import processes, wait_until
from harness.layout import conforms
from harness.publishing import FEW, add, filled, install, many, numbered, publish, refused, through, verify
from harness.repository import build

NAMES = numbered(50)


@pytest.fixture
def repository(dnf):
    return filled(dnf.repository(), many(NAMES))


def test_at_most_500_layers_and_256_kilobytes(dnf, registry, front, tools):
    names = numbered(520, prefix=f"{'long-' * 30}")
    repository = dnf.repository()
    for package in many(names):
        (repository.directory / package.name).symlink_to(package)
    front.layers, front.manifest_bytes = 500, 256 << 10
    done = publish(repository, through(front, tools))
    assert (done.packages, done.segments) == (520, 6)
    conforms(registry, tools)
    install(dnf, *names[::100])


def test_a_limit_that_is_not_known(front, tools, repository):
    front.layers = 30
    refused("publish", repository.directory, through(front, tools)).has("Limit on number of layers")
    done = publish(repository, through(front, tools), *FEW)
    assert done.packages == 50


@pytest.mark.parametrize("fault", [{"throttled": 60}, {"unavailable": 60}, {"cut": 15}])
def test_faults_are_ridden_out(dnf, registry, front, tools, repository, fault):
    for name, every in fault.items():
        setattr(front, name, every)
    done = publish(repository, through(front, tools), *FEW)
    [(name, every)] = fault.items()
    assert front.numbers[name] >= every, "it has failed at least once"
    assert done.packages == 50
    conforms(registry, tools, layers=20)
    verify(tools)
    install(dnf, *NAMES[::10])


REQUESTS = [("GET", "manifest"), ("HEAD", "blob"), ("POST", "upload"), ("PATCH", "upload"), ("PUT", "upload"),
            ("PUT", "manifest")]


@pytest.mark.parametrize("request_", REQUESTS, ids="-".join)
def test_any_request_may_be_answered_with_429(dnf, front, tools, request_):
    front.busy[request_] = 2
    assert add(through(front, tools), build("one")).packages == 1
    install(dnf, "one")


def test_no_more_requests_than_allowed(front, tools):
    repository_of = many(NAMES)[:3]
    begin = time.monotonic()
    add(through(front, tools), *repository_of, "--rate", "600")
    took = time.monotonic() - begin
    assert len(front.requests) <= 600 / 60 * took + 20


def test_a_registry_that_is_read_only(front, tools, repository):
    front.read_only = True
    refused("publish", repository.directory, through(front, tools)).has("log in with")


def test_two_publishers_lose_nothing(dnf, registry, tools, repository):
    publish(repository, tools, *FEW)
    packages = [build(f"extra{number}") for number in range(4)]
    running = [subprocess.Popen(["dnf5-oci", "add", tools, package, "--quiet"]) for package in packages]
    assert [process.wait(timeout=120) for process in running] == [0] * 4
    verify(tools)
    titles = set(conforms(registry, tools).packages())
    assert titles >= {package.name for package in packages}
    install(dnf, *(f"extra{number}" for number in range(4)), NAMES[0])


def test_the_tag_moves_while_it_works(registry, front, tools, repository):
    """Another publisher adds a package just before the tag moves."""
    publish(repository, tools, *FEW)
    others = iter([build("other")])

    def another(reference):
        # A tag is written directly before or after it is checked; digests come first.
        if reference.startswith("sha256:"):
            for package in others:
                add(tools, package)

    front.before_manifest = another
    done = add(through(front, tools), build("mine"), *FEW)
    assert done.packages == 52
    assert set(conforms(registry, tools).packages()) >= {"other-1-1.noarch.rpm", "mine-1-1.noarch.rpm"}
    verify(tools)


def test_kills(dnf, registry, front, tools):
    """Whenever it is killed, the tag leads to the old state or the new one, and the next run completes."""
    chance = random.Random(7)
    repository = dnf.repository()
    for package in many(NAMES)[:40]:
        repository.add(package)
    begin = time.monotonic()
    publish(repository, tools, *FEW)
    usual = time.monotonic() - begin
    state = publishing.tag_digest(registry, tools)
    for number in range(5):
        package = build(f"round{number}")
        repository.add(package)
        running = subprocess.Popen(["dnf5-oci", "publish", repository.directory, tools, *FEW, "--quiet"],
                                   start_new_session=True)
        time.sleep(chance.uniform(0, usual))
        running.send_signal(signal.SIGKILL)
        running.wait()
        wait_until(lambda: not processes("skopeo", "copy"), "no skopeo survives")
        found = publishing.tag_digest(registry, tools)
        titles = conforms(registry, tools, layers=20).packages()
        assert found == state or package.name in titles
        install(dnf, NAMES[0], f"round{number - 1}" if number else NAMES[1])
        publish(repository, tools, *FEW)
        state = publishing.tag_digest(registry, tools)
        assert package.name in conforms(registry, tools, layers=20).packages()
        assert not publishing.left_behind()
    verify(tools)


def test_interrupted(tools, repository):
    """Ctrl-C leaves nothing behind."""
    running = subprocess.Popen(["dnf5-oci", "publish", repository.directory, tools, *FEW],
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    time.sleep(0.3)
    running.send_signal(signal.SIGINT)
    output, _ = running.communicate(timeout=20)
    assert running.returncode != 0
    assert "interrupted" in output.splitlines()[-1]
    wait_until(lambda: not processes("skopeo", "copy"), "no skopeo survives")
    assert not publishing.left_behind()


def test_a_long_first_publish_goes_on_where_it_was(registry, front, dnf, tools):
    names = numbered(170, prefix="first")
    repository = dnf.repository()
    for package in many(names):
        repository.add(package)
    repository.createrepo()
    options = ["--layers-per-manifest", "8", "--parallel", "1"]
    front.delay = 0.002
    command = ["dnf5-oci", "publish", repository.directory, through(front, tools), *options, "--quiet"]
    running = subprocess.Popen(command)
    wait_until(lambda: front.count("PATCH", "upload") > 150, "most of it is pushed", seconds=60)
    running.kill()
    running.wait()
    wait_until(lambda: not processes("skopeo", "copy"), "no skopeo survives")
    assert publishing.tag_digest(registry, tools) is None
    publishing.garbage_collect(registry)
    front.delay = 0
    front.clear()
    done = publish(repository, through(front, tools), *options)
    assert done.packages == 170
    assert front.count("PATCH", "upload") < 100, "what was pushed is still there"
    conforms(registry, tools, layers=8)
    verify(tools)
    assert publishing.tag_digest(registry, f"{tools}.publishing") is None
