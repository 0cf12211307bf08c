"""The main path with another implementation of a registry: Pulp's."""

import pytest

from conftest import insecure
from harness import publishing
from harness.commands import run
from harness.publishing import FEW, add, filled, install, many, numbered, outcome, publish, remove, verify
from harness.pulp import CONTENT_PORT, PASSWORD, USER, Pulp
from harness.repository import build

NAMES = numbered(45)


@pytest.fixture(scope="module")
def pulp(tmp_path_factory):
    """Pulp, with root logged in."""
    running = Pulp(tmp_path_factory.mktemp("pulp")).start()
    insecure(running.address)
    insecure(f"localhost:{CONTENT_PORT}")
    run("skopeo", "login", "--username", USER, "--password-stdin", running.address, answer=PASSWORD)
    yield running
    run("skopeo", "logout", running.address)
    running.stop()


@pytest.fixture
def tools(dnf, pulp):
    reference = dnf.reference(pulp)
    dnf.add("tools", f"oci://{reference}")
    return reference


@pytest.fixture
def repository(dnf):
    return filled(dnf.repository(), many(NAMES))


def test_one_manifest(dnf, tools):
    repository = dnf.repository().add(build("one")).add(build("two"))
    done = publish(repository, tools)
    assert (done.packages, done.segments) == (2, 0)
    install(dnf, "one", "two")
    assert not publish(repository, tools).changed
    add(tools, build("new"))
    remove(tools, "one-1-1.noarch")
    verify(tools)
    install(dnf, "two", "new")


def test_an_index_of_segments(dnf, tools, repository):
    first = publish(repository, tools, *FEW)
    assert (first.packages, first.segments) == (45, 3)
    install(dnf, *NAMES[::10])
    assert not publish(repository, tools, *FEW).changed
    add(tools, build("new"), *FEW)
    remove(tools, f"{NAMES[0]}-1-1.noarch", *FEW)
    verify(tools)
    install(dnf, "new", NAMES[1])
    released = tools.replace(":stable", ":released")
    outcome("promote", tools, released)
    outcome("promote", f"{tools.rpartition(':')[0]}@{first.digest}", tools)
    verify(released)
    verify(tools)
    install(dnf, NAMES[0])


def test_architectures(dnf, tools):
    for arch in ("x86_64", "aarch64"):
        repository = dnf.repository(arch)
        for package in many(NAMES):
            repository.add(package)
        publish(repository.add(build(f"for-{arch}", arch=arch)), tools, "--arch", arch, *FEW)
    for arch in ("x86_64", "aarch64"):
        dnf("clean", "all")
        dnf(f"--forcearch={arch}", "-y", "install", "--downloadonly", f"for-{arch}", NAMES[0]).has("Complete!")


def test_prune(dnf, tools, repository):
    publish(repository, tools, *FEW)
    remove(tools, *(f"{name}-1-1.noarch" for name in NAMES[:30]), *FEW)
    publishing.command("prune", tools, "--keep", "0s", "--yes")
    verify(tools)
    install(dnf, *NAMES[30::5])
