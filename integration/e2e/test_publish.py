"""`dnf5-oci publish` makes a repository that lasts, and dnf5 installs from it."""

import shutil

import pytest

from harness import publishing
from harness.commands import processes, run
from harness.layout import conforms
from harness.publishing import FEW, command, filled, garbage_collect, install, many, numbered, publish, sha256, verify
from harness.repository import build
from harness.service import stop_services


def directory(dnf, packages, name="repository"):
    return filled(dnf.repository(name), packages)


def writes(registry):
    return [request for request in registry.requests() if request[0] not in ("GET", "HEAD")]


def test_a_small_directory_is_one_manifest(dnf, registry, tools, fetch):
    repository = directory(dnf, [build("one"), build("two")])
    before = repository.files()
    done = publish(repository, tools)
    assert (done.changed, done.previous, done.packages, done.segments) == (True, None, 2, 0)
    assert done.added == ["one-1-1.noarch.rpm", "two-1-1.noarch.rpm"] and done.removed == []
    assert repository.files() == before, "nothing is written to the directory"
    tree = conforms(registry, tools)
    assert tree.digest == done.digest and not tree.index
    assert tree.packages() == {"one-1-1.noarch.rpm": sha256(build("one")), "two-1-1.noarch.rpm": sha256(build("two"))}
    install(dnf, "one", "two")
    verify(tools)


def test_a_large_directory_is_an_index_of_segments(dnf, registry, tools, fetch):
    names = numbered(50)
    done = publish(directory(dnf, many(names)), tools, *FEW)
    assert (done.packages, done.segments) == (50, 3)
    tree = conforms(registry, tools, layers=20)
    assert len(tree.segments) == 3 and len(tree.packages()) == 50
    install(dnf, *names[::10])
    garbage_collect(registry)
    install(dnf, *names[::7])
    verify(tools)


@pytest.mark.parametrize("layers", ["400", "20"])
def test_the_same_again_writes_nothing(dnf, registry, tools, layers):
    repository = directory(dnf, many(numbered(30))).createrepo()
    first = publish(repository, tools, "--layers-per-manifest", layers)
    registry.clear()
    again = publish(repository, tools, "--layers-per-manifest", layers)
    assert (again.changed, again.digest, again.pushed, again.bytes) == (False, first.digest, 0, 0)
    assert not writes(registry)
    assert not [path for _, path, _ in registry.requests("/blobs/") if sha256(many(numbered(30))[0]) in path]
    command("publish", repository.directory, tools, "--layers-per-manifest", layers).has("Nothing to do: ")


def test_without_metadata_the_same_again_writes_nothing(dnf, registry, tools):
    repository = directory(dnf, many(numbered(30)))
    first = publish(repository, tools)
    registry.clear()
    again = publish(repository, tools)
    assert (again.changed, again.digest) == (False, first.digest)
    assert not writes(registry)


def test_the_same_packages_make_the_same_bytes(dnf, registry):
    repository = directory(dnf, many(numbered(50))).createrepo()
    one, two = dnf.reference(registry, "one"), dnf.reference(registry, "two")
    first, second = publish(repository, one, *FEW), publish(repository, two.replace("acme/", "other/"), *FEW)
    assert first.digest == second.digest


def test_a_dry_run_writes_nothing(dnf, registry, tools):
    repository = directory(dnf, many(numbered(30)))
    registry.clear()
    done = publish(repository, tools, "--dry-run")
    assert (done.changed, done.packages, len(done.added)) == (True, 30, 30)
    assert done.pushed >= 30 and done.bytes > 0
    assert not writes(registry)
    assert publishing.tag_digest(registry, tools) is None
    command("publish", repository.directory, tools, "--dry-run").has("30 packages").has("30 added")


def test_further_tags_lead_to_the_same(dnf, registry, tools):
    repository = directory(dnf, [build("one")])
    done = publish(repository, tools, "--tag-also", "v1", "--tag-also", "v1.0")
    tags = [tools.replace(":stable", f":{tag}") for tag in ("v1", "v1.0")]
    assert [publishing.tag_digest(registry, tag) for tag in tags] == [done.digest] * 2
    # Also if there is nothing else to do.
    again = publish(repository, tools, "--tag-also", "v2")
    assert not again.changed
    assert publishing.tag_digest(registry, tools.replace(":stable", ":v2")) == done.digest


def test_names_as_they_come(dnf, registry, tools, fetch):
    repository = dnf.repository()
    repository.add(build("c++"), "Packages/c").add(build("tilde", version="1~rc1^git"))
    copies = {"with space.rpm": "spaced", "50%-off.rpm": "percent", "a:b.rpm": "colon", "ü.rpm": "umlaut"}
    for file, name in copies.items():
        shutil.copy(build(name), repository.directory / file)
    for below in ("one", "two"):
        (repository.directory / below).mkdir()
        shutil.copy(build(f"in-{below}"), repository.directory / below / "same.rpm")
    done = publish(repository, tools)
    assert set(copies) < set(done.added)
    conforms(registry, tools)
    install(dnf, "c++", "tilde", "in-one", "in-two", *copies.values())
    verify(tools)
    segmented = dnf.reference(registry, "segmented")
    dnf.add("tools", f"oci://{segmented}")
    publish(repository, segmented, "--layers-per-manifest", "8")
    assert conforms(registry, segmented).segments
    install(dnf, "c++", "tilde", "in-one", "in-two", *copies.values())


def test_other_files_are_published(dnf, registry, tools):
    repository = directory(dnf, [build("one")])
    (repository.directory / "RPM-GPG-KEY-acme").write_text("a key\n")
    publish(repository, tools)
    titles = [publishing.title(layer) for layer in conforms(registry, tools).metadata[0]["layers"]]
    assert "RPM-GPG-KEY-acme" in titles


def test_metadata_that_is_there_is_kept(dnf, registry, tools):
    repository = directory(dnf, [build("one")]).createrepo()
    repomd = repository.directory / "repodata/repomd.xml"
    publish(repository, tools)
    layers = {publishing.title(layer): layer for layer in conforms(registry, tools).metadata[0]["layers"]}
    assert layers["repodata/repomd.xml"]["digest"] == sha256(repomd)


def test_nothing_is_left_behind(dnf, tools):
    stop_services()
    publish(directory(dnf, many(numbered(30))), tools, *FEW)
    assert not processes("skopeo")
    assert not publishing.left_behind()


def test_a_copy_of_everything(dnf, registry, tools, tmp_path):
    names = numbered(50)
    done = publish(directory(dnf, many(names)), tools, *FEW)
    layout = f"oci:{tmp_path}/mirror:stable"
    run("skopeo", "copy", "--quiet", "--all", "--preserve-digests", f"docker://{tools}", layout)
    dnf.add("tools", f"oci://{tmp_path}/mirror:stable")
    install(dnf, *names[::10])
    synced = dnf.reference(registry, "stable").replace("/acme/", "/synced/")
    run("skopeo", "sync", "--all", "--src", "docker", "--dest", "docker", tools, synced.rpartition("/")[0])
    assert conforms(registry, synced, layers=20).digest == done.digest
    copied = dnf.reference(registry, "copied").replace("/acme/", "/copied/")
    run("oras", "cp", "-r", "--from-plain-http", "--to-plain-http", tools, copied)
    assert conforms(registry, copied, layers=20).digest == done.digest
    for reference in (synced, copied):
        verify(reference)
        dnf.add("tools", f"oci://{reference}")
        install(dnf, *names[::10])
