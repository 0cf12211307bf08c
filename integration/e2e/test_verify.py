"""`dnf5-oci verify` finds what is wrong with a repository, and nothing in a right one."""

import pytest

from harness import publishing
from harness.commands import run
from harness.publishing import FEW, Tree, command, filled, many, numbered, outcome, publish, remove, sha256
from harness.repository import build
from harness.segments import segmented
from harness.signing import NOTHING, scope, temporary_policy

NAMES = numbered(30)


@pytest.fixture
def tools(dnf, registry):
    return dnf.reference(registry)


@pytest.fixture
def repository(dnf):
    return filled(dnf.repository(), many(NAMES))


@pytest.fixture
def small(dnf):
    return dnf.repository().add(build("one")).add(build("two"), "Packages").createrepo()


def problems(reference, *options):
    """What is found, as (subject, reason)."""
    result = command("verify", reference, *options, code=1)
    found = run("dnf5-oci", "verify", reference, *options, "--quiet", code=1)
    lines = [line.removeprefix("error: ") for line in found.output.splitlines()]
    for line in lines:
        result.has(line)
    result.has(f"{len(lines)} problem").has_not("Verified")
    return [tuple(line.split(": ", 1)) for line in lines]


def test_a_right_one(dnf, registry, tools, repository):
    publish(repository, tools, *FEW)
    remove(tools, f"{NAMES[0]}-1-1.noarch", *FEW)
    packages = set(Tree(registry, tools).packages().values())
    registry.clear()
    done = outcome("verify", tools)
    assert (done.packages, done.segments, done.removed, done.problems) == (29, 2, 1, [])
    assert not [digest for digest in registry.blobs() if digest in packages], "no package is fetched"
    command("verify", tools).has(f"Verified oci://{tools}: 29 packages in 2 segments, 1 removed; metadata, signature\n")
    registry.clear()
    deep = outcome("verify", tools, "--deep")
    assert set(registry.blobs()) >= packages
    assert deep.blobs > 30 and deep.problems == []
    command("verify", tools, "--deep").has(f"; read {deep.blobs} files, ")


def test_one_manifest(tools, small):
    publish(small, tools)
    remove(tools, "two-1-1.noarch")
    done = outcome("verify", tools, "--deep")
    assert (done.packages, done.segments, done.removed) == (1, 0, 1)
    assert done.problems == []


def test_what_oras_has_pushed(tools, small):
    """One of the packages is in a tar layer."""
    small.push(tools)
    done = outcome("verify", tools, "--deep")
    assert (done.packages, done.problems) == (2, [])


def test_architectures(dnf, registry, tools):
    for arch in ("x86_64", "aarch64"):
        repository = dnf.repository(arch)
        for package in (*many(NAMES), build(f"for-{arch}", arch=arch)):
            repository.add(package)
        publish(repository, tools, "--arch", arch, *FEW)
    done = outcome("verify", tools, "--deep")
    assert (done.architectures, done.packages) == (2, 62)
    registry.clear()
    one = outcome("verify", tools, "--deep", "--arch", "aarch64")
    assert (one.architectures, one.packages) == (1, 31)
    assert sha256(build("for-x86_64", arch="x86_64")) not in registry.blobs()
    run("dnf5-oci", "verify", tools, "--arch", "riscv64", code=1).has('no metadata for "riscv64"')


def test_no_repository(tools):
    run("dnf5-oci", "verify", tools, code=1).has("error: ")


def test_a_package_that_no_segment_has(registry, tools, small):
    pushed = segmented(registry, tools, small)
    assert outcome("verify", tools, "--deep").problems == []
    variant, _, [location] = pushed.segments[0]
    pushed.entries = [entry for entry in pushed.entries if entry.get("platform", {}).get("variant") != variant]
    pushed.push("stable")
    assert [subject for subject, _ in problems(tools)] == [location, location]
    found = dict.fromkeys(reason for _, reason in problems(tools))
    assert any("no manifest of the repository names its blob" in reason for reason in found)
    assert any(f"is said to be in segment {variant}, which the index does not have" in reason for reason in found)


@pytest.mark.parametrize(("old", "new", "reason"), [
    ("Packages/two", "Packages/three", "the table of locations does not have it"),
    (" 0 Packages", " 1 Packages", "which does not have sha256:"),
    (None, None, "bytes, and the metadata"),
])
def test_a_table_that_lies(registry, tools, small, old, new, reason):
    def change(table):
        text = table.decode()
        size = str(build("two").stat().st_size)
        changed = text.replace(old, new) if old else text.replace(f" {size} ", " 1 ", 1)
        assert changed != text
        return changed.encode()

    segmented(registry, tools, small, change=change)
    assert any(reason in text for _, text in problems(tools))


def test_a_table_that_is_none(registry, tools, small):
    segmented(registry, tools, small, change=lambda _: b"locations 7\n")
    [(subject, reason)] = problems(tools)
    assert subject == "locations" and 'expected "locations 1"' in reason


def test_an_index_without_locations(registry, tools, small):
    segmented(registry, tools, small, change=lambda _: None)
    assert problems(tools) == [("locations", "there is no table of them")]


def test_a_segment_that_is_gone(registry, tools, repository):
    publish(repository, tools, *FEW)
    digest = Tree(registry, tools).digests()[1]
    registry.blob(digest).unlink()
    assert any(subject == "s" + digest.removeprefix("sha256:")[:16] for subject, _ in problems(tools))


def test_a_blob_with_other_bytes(registry, tools, repository):
    publish(repository, tools, *FEW)
    registry.corrupt_blob(sha256(many(NAMES)[3]))
    try:
        verified = outcome("verify", tools)
        assert verified.problems == [], "only --deep reads it"
        [(subject, reason)] = problems(tools, "--deep")
        assert subject == f"{NAMES[3]}-1-1.noarch.rpm"
        assert "checksum mismatch" in reason or "digest" in reason
    finally:
        registry.corrupt_blob(sha256(many(NAMES)[3]))


def test_a_blob_that_is_gone(registry, tools, repository):
    publish(repository, tools, *FEW)
    name = tools.partition("/")[2].rpartition(":")[0]
    registry.unlink_blob(name, sha256(many(NAMES)[3]))
    [(subject, _)] = problems(tools, "--deep")
    assert subject == f"{NAMES[3]}-1-1.noarch.rpm"


def test_metadata_with_other_bytes(registry, tools, repository):
    publish(repository, tools, *FEW)
    layers = Tree(registry, tools).metadata[0]["layers"]
    [primary] = [layer for layer in layers if "primary" in (publishing.title(layer) or "")]
    registry.corrupt_blob(primary["digest"])
    [(subject, _)] = problems(tools)
    assert subject == "metadata"


def test_what_the_policy_rejects(registry, tools, repository):
    publish(repository, tools, *FEW)
    with temporary_policy({scope(tools): NOTHING}):
        [(subject, _)] = problems(tools)
    assert subject == "manifest"
