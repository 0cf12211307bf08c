"""What is published changes: packages come and go, and the registry keeps what dnf5 may still ask for."""

import shutil

import pexpect
import pytest

from harness import publishing
from harness.commands import run
from harness.layout import LOCATIONS, REMOVED, conforms
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
    sha256,
    through,
    verify,
)
from harness.repository import build

NAMES = numbered(50)


@pytest.fixture
def repository(dnf):
    """A directory with fifty packages."""
    return filled(dnf.repository(), many(NAMES))


@pytest.fixture
def published(repository, tools):
    """It, as an index of segments."""
    return publish(repository, tools, *FEW)


def test_an_update_of_an_index_asks_for_no_old_package(dnf, registry, front, tools, repository, published):
    old = Tree(registry, tools)
    repository.add(build("new"))
    front.clear()
    done = publish(repository, through(front, tools), *FEW)
    assert (done.added, done.removed, done.packages) == (["new-1-1.noarch.rpm"], [], 51)
    digests = {path.rpartition("/")[2] for _, kind, path in front.requests if kind == "blob"}
    assert not digests & set(old.packages().values())
    assert front.count("PATCH", "upload") <= 1 + 6, "the package, and metadata"
    assert front.count("PUT", "manifest") <= 3, "a segment, the metadata, the index"
    new = conforms(registry, tools, layers=20)
    assert new.segments[:3] == old.segments
    assert len(new.segments) == 4
    install(dnf, "new", NAMES[0])
    verify(tools)


def test_an_update_of_one_manifest_uploads_what_is_new(registry, front, tools, repository):
    publish(repository, tools)
    repository.add(build("new"))
    front.clear()
    publish(repository, through(front, tools))
    assert front.count("PATCH", "upload") <= 1 + 6
    assert front.count("PUT", "manifest") <= 2, "by its digest, and by the tag"
    assert len(conforms(registry, tools).packages()) == 51


def test_add_without_the_other_packages(dnf, registry, front, tools, repository, published, fetch):
    old = Tree(registry, tools)
    shutil.rmtree(repository.directory)
    front.clear()
    done = add(through(front, tools), build("new"))
    assert (done.added, done.removed, done.packages) == (["new-1-1.noarch.rpm"], [], 51)
    digests = {path.rpartition("/")[2] for _, kind, path in front.requests if kind == "blob"}
    assert not digests & set(old.packages().values())
    assert len(conforms(registry, tools).packages()) == 51
    garbage_collect(registry)
    verify(tools)
    install(dnf, "new", *NAMES[::7])


def test_add_to_a_repository_of_one_manifest(dnf, registry, tools):
    publish(filled(dnf.repository(), [build("one"), build("two")]), tools)
    done = add(tools, build("new"), build("newer"))
    assert (done.packages, done.segments) == (4, 0)
    assert not conforms(registry, tools).index
    garbage_collect(registry)
    verify(tools)
    install(dnf, "one", "two", "new", "newer")


def test_add_makes_a_repository(dnf, registry, tools):
    done = add(tools, build("one"))
    assert (done.previous, done.packages) == (None, 1)
    conforms(registry, tools)
    install(dnf, "one")


def test_add_of_what_is_there_changes_nothing(registry, tools, published):
    registry.clear()
    done = add(tools, many(NAMES)[3])
    assert (done.changed, done.digest) == (False, published.digest)
    assert not [request for request in registry.requests() if request[0] not in ("GET", "HEAD")]


def test_remove_without_the_packages(dnf, registry, tools, repository, published, fetch):
    shutil.rmtree(repository.directory)
    before = Tree(registry, tools)
    done = remove(tools, f"{NAMES[0]}-1-1.noarch", f"{NAMES[1]}-0:1-1.noarch")
    assert done.removed == [f"{name}-1-1.noarch.rpm" for name in NAMES[:2]] and done.packages == 48
    after = conforms(registry, tools, layers=20)
    # dnf5 may ask for them as long as it has the old metadata.
    assert set(after.packages().values()) >= set(before.packages().values())
    assert {layer["mediaType"] for layer in after.metadata[0]["layers"]} >= {LOCATIONS, REMOVED}
    garbage_collect(registry)
    verify(tools)
    install(dnf, *NAMES[2::7])
    dnf("install", "--downloadonly", "-y", NAMES[0], code=1).has("No match for argument")


def test_a_package_leaves_a_repository_of_one_manifest(dnf, registry, tools):
    publish(filled(dnf.repository(), [build("one"), build("two")]), tools)
    remove(tools, "one-1-1.noarch")
    layers = conforms(registry, tools).metadata[0]["layers"]
    digests = {layer["digest"]: publishing.title(layer) for layer in layers}
    assert digests[sha256(build("one"))] is None, "it has no title any more"
    assert digests[sha256(build("two"))] == "two-1-1.noarch.rpm"
    garbage_collect(registry)
    verify(tools)
    install(dnf, "two")


def test_remove_of_what_is_not_there(tools, published):
    refused("remove", tools, "none-1-1.noarch").has("none-1-1.noarch")


def test_other_bytes_at_the_same_location(dnf, registry, tools, tmp_path):
    publish(filled(dnf.repository(), [build("one", content="old\n"), build("two")]), tools)
    other = shutil.copy(build("one", content="new\n"), tmp_path)
    refused("add", tools, other).has("one-1-1.noarch.rpm").has("--replace")
    done = add(tools, other, "--replace")
    assert done.added == done.removed == ["one-1-1.noarch.rpm"]
    assert conforms(registry, tools).packages()["one-1-1.noarch.rpm"] == sha256(other)
    garbage_collect(registry)
    verify(tools)
    dnf("install", "-y", "one")
    assert run("cat", "/usr/share/one/file").output == "new\n"
    run("rpm", "-e", "one")


def test_it_outgrows_one_manifest(dnf, registry, tools):
    repository = filled(dnf.repository(), many(NAMES)[:8])
    publish(repository, tools, *FEW)
    assert not conforms(registry, tools).index
    done = add(tools, *many(NAMES)[8:], *FEW)
    assert (done.packages, len(done.added)) == (50, 42)
    assert conforms(registry, tools, layers=20).index
    garbage_collect(registry)
    verify(tools)
    install(dnf, *NAMES[::7])


@pytest.mark.parametrize("command", [add, publish])
@pytest.mark.parametrize("layout", ["directory", "files"])
def test_it_outgrows_what_oras_has_pushed(dnf, registry, tools, layout, command):
    repository = filled(dnf.repository(), many(NAMES)[:8]).createrepo()
    if layout == "directory":
        repository.push(tools)
    else:
        repository.push_files(tools)
    registry.clear()
    if command is add:
        done = add(tools, *many(NAMES)[8:], *FEW)
    else:
        done = publish(filled(repository, many(NAMES)[8:]), tools, "--createrepo", *FEW)
    assert (done.packages, len(done.added)) == (50, 42)
    assert conforms(registry, tools, layers=20).index
    garbage_collect(registry)
    verify(tools)
    install(dnf, *NAMES[::7])


def test_a_reader_in_the_middle_gets_what_it_saw(dnf, registry, tools, repository, published, installed):
    """dnf5 waits for the answer while everything that it has seen leaves the metadata."""
    installed += NAMES[:3]
    dnf5 = pexpect.spawn("dnf5", ["install", *NAMES[:3]], timeout=60, encoding="utf-8")
    dnf5.expect("Is this ok")
    remove(tools, *(f"{name}-1-1.noarch" for name in NAMES[:25]))
    garbage_collect(registry)
    dnf5.sendline("y")
    dnf5.expect("Complete!")
    dnf5.expect(pexpect.EOF)
    assert run("rpm", "-q", *NAMES[:3]).code == 0


def test_list_and_diff(tools, published):
    listed = outcome("list", tools)
    [repository] = listed.architectures
    assert [package["location"] for package in repository["packages"]] == [f"{name}-1-1.noarch.rpm" for name in NAMES]
    assert len(listed.segments) == published.segments
    command("list", tools).has(f"{NAMES[0]}-1-1.noarch")
    add(tools, build("new"))
    remove(tools, f"{NAMES[0]}-1-1.noarch")
    old = f"{tools.rpartition(':')[0]}@{published.digest}"
    result = command("diff", old, tools)
    result.has("new-1-1.noarch").has(f"{NAMES[0]}-1-1.noarch").has_not(f"{NAMES[2]}-1-1.noarch")
