"""Promotion, rollback, pruning and mirrors: published states move, and only what is missing is copied."""

import time

import pytest

from conftest import insecure
from harness import publishing
from harness.commands import run
from harness.layout import REMOVED, conforms
from harness.publishing import (
    FEW,
    Tree,
    add,
    command,
    filled,
    garbage_collect,
    install,
    many,
    numbered,
    outcome,
    publish,
    refused,
    remove,
    through,
    verify,
)
from harness.registry import Registry
from harness.repository import build

NAMES = numbered(50)


@pytest.fixture
def published(dnf, tools):
    return publish(filled(dnf.repository(), many(NAMES)), tools, *FEW)


@pytest.fixture
def elsewhere(tmp_path):
    """Another registry."""
    running = Registry(tmp_path / "elsewhere", 5001).start()
    insecure(running.address)
    yield running
    running.stop()


def tag(reference, name):
    return reference.replace(":stable", f":{name}")


def at(reference, digest):
    return f"{reference.rpartition(':')[0]}@{digest}"


def test_promotion_in_place_pushes_one_manifest(dnf, registry, front, tools, published, fetch):
    add(tools, build("new"), *FEW)
    wanted = publishing.tag_digest(registry, tools)
    front.clear()
    outcome("promote", through(front, tools), through(front, tag(tools, "released")))
    assert publishing.tag_digest(registry, tag(tools, "released")) == wanted
    assert not [found for found in front.requests if found[1] in ("blob", "upload")]
    assert front.count("PUT", "manifest") == 1
    dnf.add("tools", f"oci://{tag(tools, 'released')}")
    install(dnf, "new", NAMES[0])


def test_rollback(dnf, registry, tools, published):
    add(tools, build("new"), *FEW)
    remove(tools, f"{NAMES[0]}-1-1.noarch", *FEW)
    outcome("promote", at(tools, published.digest), tools)
    assert publishing.tag_digest(registry, tools) == published.digest
    verify(tools)
    install(dnf, NAMES[0])
    dnf("repoquery", "--refresh", "new").has_not("new-0")


def test_to_another_repository_of_the_registry(dnf, registry, front, tools, published):
    target = tools.replace("/acme/", "/released/")
    front.clear()
    outcome("promote", through(front, tools), through(front, target))
    # Of what is not mounted, skopeo reads and sends the config alone, which has two bytes.
    manifests = published.segments + 1
    assert front.count("GET", "blob") <= manifests
    assert front.count("PATCH", "upload") <= manifests
    conforms(registry, target, layers=20)
    verify(target)
    dnf.add("tools", f"oci://{target}")
    install(dnf, *NAMES[::10])


def test_to_another_registry_only_what_is_missing(dnf, tools, published, elsewhere):
    target = tools.replace(tools.partition("/")[0], elsewhere.address)
    outcome("promote", tools, target)
    assert publishing.tag_digest(elsewhere, target) == published.digest
    add(tools, build("new"), *FEW)
    elsewhere.clear()
    outcome("promote", tools, target)
    old = set(Tree(elsewhere, f"{target.rpartition(':')[0]}@{published.digest}").packages().values())
    asked = {path.rpartition("/")[2] for _, path, _ in elsewhere.requests("/blobs/sha256:")}
    assert not asked & old
    conforms(elsewhere, target, layers=20)
    verify(target)
    dnf.add("tools", f"oci://{target}")
    install(dnf, "new", *NAMES[::10])


def test_promoting_what_is_there_already(registry, tools, published):
    registry.clear()
    assert not outcome("promote", tools, tools).changed
    assert not [request for request in registry.requests() if request[0] not in ("GET", "HEAD")]


def test_promoting_what_is_not_there(tools, published):
    refused("promote", tag(tools, "none"), tag(tools, "released")).has("none")


def test_prune_shows_what_it_would_do(registry, tools, published):
    remove(tools, *(f"{name}-1-1.noarch" for name in NAMES[:30]), *FEW)
    before = publishing.tag_digest(registry, tools)
    registry.clear()
    command("prune", tools, "--keep", "0d")
    assert publishing.tag_digest(registry, tools) == before
    assert not [request for request in registry.requests() if request[0] not in ("GET", "HEAD")]


def test_prune_keeps_what_left_lately(registry, tools, published):
    remove(tools, *(f"{name}-1-1.noarch" for name in NAMES[:30]), *FEW)
    before = Tree(registry, tools).packages()
    command("prune", tools, "--yes")
    assert Tree(registry, tools).packages() == before


def test_prune_merges_segments_that_are_less_than_half_alive(dnf, registry, tools, published):
    remove(tools, *(f"{name}-1-1.noarch" for name in NAMES[:35]), *FEW)
    before = Tree(registry, tools)
    time.sleep(1.1)
    command("prune", tools, "--keep", "1s", "--yes")
    tree = conforms(registry, tools, layers=20)
    assert set(tree.packages()) == {f"{name}-1-1.noarch.rpm" for name in NAMES[35:]}
    assert len(tree.segments) < published.segments
    assert REMOVED not in {layer["mediaType"] for layer in tree.metadata[0]["layers"]}
    verify(tools)
    publishing.delete_manifests(registry, before, kept=tree)
    freed = garbage_collect(registry)
    assert "blob eligible for deletion" in freed.output
    verify(tools)
    install(dnf, *NAMES[35::3])


def test_into_a_directory_and_back(dnf, registry, tools, published, elsewhere, tmp_path):
    layout = f"oci:{tmp_path}/stick:stable"
    outcome("mirror", tools, layout)
    dnf.add("tools", f"oci://{tmp_path}/stick:stable")
    install(dnf, *NAMES[::10])
    target = tools.replace(tools.partition("/")[0], elsewhere.address)
    outcome("mirror", layout, target)
    assert publishing.tag_digest(elsewhere, target) == published.digest
    verify(target)
    dnf.add("tools", f"oci://{target}")
    install(dnf, *NAMES[::10])


def test_only_what_is_new_into_a_directory(dnf, registry, tools, published, elsewhere, tmp_path):
    target = tools.replace(tools.partition("/")[0], elsewhere.address)
    outcome("promote", tools, target)
    add(tools, build("new"), *FEW)
    outcome("mirror", tools, f"oci:{tmp_path}/stick:stable", "--since", published.digest)
    digests = {path.name for path in (tmp_path / "stick/blobs/sha256").iterdir()}
    assert publishing.sha256(build("new")).removeprefix("sha256:") in digests
    assert publishing.sha256(many(NAMES)[0]).removeprefix("sha256:") not in digests
    outcome("mirror", f"oci:{tmp_path}/stick:stable", target)
    conforms(elsewhere, target, layers=20)
    verify(target)
    dnf.add("tools", f"oci://{target}")
    install(dnf, "new", *NAMES[::10])


def test_an_http_repository(dnf, registry, web, tools):
    repository = dnf.repository()
    for package in many(NAMES):
        repository.add(package, "Packages")
    repository.createrepo()
    run("cp", "-r", repository.directory, web.directory / "acme")
    url = f"{web.url}/acme/"
    outcome("mirror", url, tools)
    tree = conforms(registry, tools)
    repomd = next(layer for layer in tree.metadata[0]["layers"] if publishing.title(layer) == "repodata/repomd.xml")
    assert repomd["digest"] == publishing.sha256(repository.directory / "repodata/repomd.xml")
    verify(tools)
    install(dnf, *NAMES[::10])
    web.clear()
    assert not outcome("mirror", url, tools).changed
    assert not [path for path in web.requested("acme") if path.endswith(".rpm")]
