"""`dnf5-oci prune`: what nobody needs leaves the registry, and everything else stays."""

import time

import pytest

from harness import publishing
from harness.layout import REMOVED, conforms
from harness.publishing import (
    FEW,
    Tree,
    command,
    filled,
    garbage_collect,
    install,
    many,
    numbered,
    outcome,
    publish,
    remove,
    sha256,
    verify,
)
from harness.repository import build

NAMES = numbered(50)


@pytest.fixture
def published(dnf, tools):
    return publish(filled(dnf.repository(), many(NAMES)), tools, *FEW)


def take(reference, names):
    return remove(reference, *(f"{name}-1-1.noarch" for name in names), *FEW)


def prune(reference, *options):
    return outcome("prune", reference, *options, *FEW)


def test_nothing_to_do(registry, tools, published):
    registry.clear()
    assert not prune(tools, "--keep", "0s", "--yes").changed
    command("prune", tools).has(f"Nothing to do: oci://{tools} ")
    assert not [request for request in registry.requests() if request[0] not in ("GET", "HEAD")]
    take(tools, NAMES[:1])
    assert not prune(tools, "--yes").changed, "it left a moment ago"


def test_it_says_what_it_would_do(registry, tools, published):
    """Two of the three segments are less than half alive."""
    take(tools, NAMES[:35])
    before = publishing.tag_digest(registry, tools)
    registry.clear()
    done = prune(tools, "--keep", "0s")
    assert done.changed and done.dry_run and done.previous == before
    assert done.packages == [f"{name}-1-1.noarch.rpm" for name in NAMES[:35]]
    assert (len(done.segments), done.new_segments, done.blobs) == (2, 1, 35)
    assert done.bytes == sum(package.stat().st_size for package in many(NAMES)[:35])
    command("prune", tools, "--keep", "0s", *FEW).has(f"- {NAMES[3]}-1-1.noarch.rpm\n").has(
        f"Would prune oci://{tools}: 35 packages, 2 segments replaced by 1; 35 files of ").has("use --yes")
    assert publishing.tag_digest(registry, tools) == before
    assert not [request for request in registry.requests() if request[0] not in ("GET", "HEAD")]


def test_what_is_gone_is_freed_and_the_rest_installs(dnf, registry, tools):
    names = numbered(50, "freed")
    packages = many(names)
    repository = dnf.repository()
    for package in packages:
        repository.add(package)
    publish(repository, tools, *FEW)
    first = Tree(registry, tools)
    take(tools, names[:35])
    before = Tree(registry, tools)
    registry.clear()
    done = prune(tools, "--keep", "0s", "--yes")
    uploads = [request for request in registry.requests("/blobs/uploads/") if request[0] == "POST"]
    assert len(uploads) == 1, "the table of locations; all else is there already"
    assert not set(registry.blobs()) & {sha256(package) for package in packages}
    tree = conforms(registry, tools, layers=20)
    assert tree.digest == done.digest
    assert set(tree.packages()) == {f"{name}-1-1.noarch.rpm" for name in names[35:]}
    assert tree.digests()[1] == before.digests()[3], "a segment that is alive stays"
    assert REMOVED not in {layer["mediaType"] for layer in tree.metadata[0]["layers"]}
    verify(tools)
    assert not prune(tools, "--keep", "0s", "--yes").changed
    publishing.delete_manifests(registry, first, kept=before)
    publishing.delete_manifests(registry, before, kept=tree)
    garbage_collect(registry)
    stored = [name for name, package in zip(names, packages, strict=True) if registry.blob(sha256(package)).exists()]
    assert stored == names[35:]
    verify(tools)
    install(dnf, *names[35:])


def test_older_metadata_within_the_time_is_served(dnf, registry, tools, published):
    """Five packages left a moment ago: those who have the metadata of before still want them."""
    take(tools, NAMES[:35])
    dnf("makecache")
    time.sleep(10)
    begin = time.time()
    take(tools, NAMES[35:40])
    before = Tree(registry, tools)
    done = prune(tools, "--keep", f"{int(time.time() - begin) + 8}s", "--yes")
    assert done.packages == [f"{name}-1-1.noarch.rpm" for name in NAMES[:35]]
    tree = conforms(registry, tools, layers=20)
    assert set(tree.packages()) == {f"{name}-1-1.noarch.rpm" for name in NAMES[35:]}
    publishing.delete_manifests(registry, before, kept=tree)
    garbage_collect(registry)
    dnf("-y", "install", "--downloadonly", *NAMES[35:40]).has("Complete!")
    verify(tools)


def test_what_is_more_than_half_alive_stays_as_it_is(registry, tools, published):
    take(tools, NAMES[:5])
    before = Tree(registry, tools)
    done = prune(tools, "--keep", "0s", "--yes")
    assert (done.segments, done.new_segments, done.blobs) == ([], 0, 0)
    tree = conforms(registry, tools, layers=20)
    assert tree.digests()[1:] == before.digests()[1:]
    listed = outcome("list", tools)
    assert [segment["listed"] for segment in listed.segments] == [15, 20, 10]
    # The next time, what was given up then counts as well.
    take(tools, NAMES[5:11])
    done = prune(tools, "--keep", "0s", "--yes")
    assert (len(done.segments), done.new_segments, done.blobs) == (1, 1, 11)
    conforms(registry, tools, layers=20)
    verify(tools)


def test_a_segment_with_nothing_alive(registry, tools, published):
    take(tools, NAMES[:20])
    done = prune(tools, "--keep", "0s", "--yes")
    assert (len(done.segments), done.new_segments) == (1, 0)
    assert len(conforms(registry, tools, layers=20).segments) == 2
    verify(tools)


def test_one_manifest(dnf, registry, tools):
    publish(dnf.repository().add(build("one")).add(build("two")), tools)
    remove(tools, "two-1-1.noarch")
    assert sha256(build("two")) in {layer["digest"] for layer in Tree(registry, tools).metadata[0]["layers"]}
    done = outcome("prune", tools, "--keep", "0s", "--yes")
    assert (done.packages, done.segments, done.blobs) == (["two-1-1.noarch.rpm"], [], 1)
    layers = conforms(registry, tools).metadata[0]["layers"]
    assert {layer["mediaType"] for layer in layers}.isdisjoint({REMOVED})
    assert sha256(build("two")) not in {layer["digest"] for layer in layers}
    install(dnf, "one")
    verify(tools)


def test_architectures_share_segments(dnf, registry, tools):
    """What one architecture has removed stays for as long as another one lists it."""
    for arch in ("x86_64", "aarch64"):
        repository = dnf.repository(arch)
        for package in many(NAMES):
            repository.add(package)
        publish(repository, tools, "--arch", arch, *FEW)
    remove(tools, *(f"{name}-1-1.noarch" for name in NAMES[:40]), "--arch", "x86_64", *FEW)
    done = prune(tools, "--keep", "0s", "--yes")
    assert (len(done.packages), done.segments, done.blobs) == (40, [], 0)
    remove(tools, *(f"{name}-1-1.noarch" for name in NAMES[:40]), "--arch", "aarch64", *FEW)
    done = prune(tools, "--keep", "0s", "--yes")
    assert (len(done.segments), done.blobs) == (2, 40)
    conforms(registry, tools, layers=20)
    verify(tools)


def test_further_tags(registry, tools, published):
    take(tools, NAMES[:35])
    other = tools.replace(":stable", ":other")
    done = prune(tools, "--keep", "0s", "--yes", "--tag-also", "other")
    assert publishing.tag_digest(registry, other) == done.digest


def test_others_change_it_meanwhile(dnf, registry, front, tools, published):
    """A package that comes while prune works is not lost."""
    take(tools, NAMES[:35])
    added = []

    def change(_reference):
        if not added:
            added.append(publishing.add(tools, build("new"), *FEW))

    front.before_manifest = change
    done = prune(tools.replace(registry.address, front.address), "--keep", "0s", "--yes")
    assert done.previous == added[0].digest
    tree = conforms(registry, tools, layers=20)
    assert set(tree.packages()) == {"new-1-1.noarch.rpm"} | {f"{name}-1-1.noarch.rpm" for name in NAMES[35:]}
    install(dnf, "new", NAMES[40])


def test_what_was_not_published_by_us(dnf, registry, tools):
    repository = dnf.repository().add(build("one")).createrepo()
    repository.push(tools)
    assert not outcome("prune", tools, "--keep", "0s", "--yes").changed


def test_what_cannot_be_pruned(tools, published):
    pinned = f"{tools.rpartition(':')[0]}@{published.digest}"
    publishing.refused("prune", pinned, "--yes").has("not a tag in a registry")
    publishing.refused("prune", tools.replace(":stable", ":none"), "--yes").has("there is no such repository")
    command("prune", tools, "--keep", "soon", code=2)
