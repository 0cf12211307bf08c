"""`dnf5-oci list` and `diff`: what references lead to, for people and programs."""

import subprocess

import pytest

from harness import publishing
from harness.commands import run
from harness.publishing import FEW, Tree, add, command, many, numbered, outcome, publish, refused, remove, sha256
from harness.repository import build

NAMES = numbered(30)


@pytest.fixture
def tools(dnf, registry):
    return dnf.reference(registry)


def directory(dnf, packages, name="repository", below=""):
    repository = dnf.repository(name)
    for package in packages:
        repository.add(package, below)
    return repository


def lines(*arguments):
    """What a command prints for people, without its progress."""
    done = subprocess.run(["dnf5-oci", *arguments], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout.splitlines()


def test_packages_segments_and_a_summary(dnf, registry, tools):
    repository = directory(dnf, many(NAMES))
    repository.add(build("one"), "Packages/o")
    first = publish(repository, tools, *FEW)
    remove(tools, f"{NAMES[0]}-1-1.noarch", *FEW)
    registry.clear()
    listed = lines("list", tools)
    fetched = registry.requests("/blobs/")
    segments = [line.split() for line in listed if line.startswith("segment ")]
    tree = Tree(registry, tools)
    names = ["s" + digest.removeprefix("sha256:")[:16] for digest in tree.digests()[1:]]
    assert [line[1] for line in segments] == names
    assert [int(line[2]) for line in segments] == [len(segment["layers"]) for segment in tree.segments]
    assert sum(int(line[-4]) for line in segments) == 30, "one is no longer in the metadata"
    [one] = [line for line in listed if line.startswith("one-1-1.noarch ")]
    _, size, segment, location = one.split()
    assert int(size) == build("one").stat().st_size
    assert location == "Packages/o/one-1-1.noarch.rpm" and segment in names
    # The columns are aligned: the locations begin below each other.
    packages = [line for line in listed if line.endswith(".rpm")]
    assert len(packages) == 30 and packages == sorted(packages, key=lambda line: line.split()[0])
    assert len({len(line.rpartition("  ")[0]) for line in packages}) == 1
    assert f"Digest: {tree.digest}" in listed and f"Previous: {first.digest}" in listed
    [summary] = [line for line in listed if line.startswith("30 packages, ")]
    assert summary.endswith("; 1 package removed from it")
    packages = set(tree.packages().values())
    assert not [path for _, path, _ in fetched if path.rpartition("/")[2] in packages], "no package is fetched"


def test_the_same_as_an_object(dnf, tools):
    publish(directory(dnf, many(NAMES)), tools, *FEW)
    remove(tools, f"{NAMES[0]}-1-1.noarch", *FEW)
    listed = outcome("list", tools)
    [all_together] = listed.architectures
    assert all_together["arch"] is None
    package = all_together["packages"][0]
    assert package["nevra"] == f"{NAMES[1]}-1-1.noarch" and package["location"] == f"{NAMES[1]}-1-1.noarch.rpm"
    assert package["checksum"] == sha256(many(NAMES)[1]) and package["size"] == many(NAMES)[1].stat().st_size
    assert package["segment"] in {segment["name"] for segment in listed.segments}
    [gone] = all_together["removed"]
    assert gone["location"] == f"{NAMES[0]}-1-1.noarch.rpm" and gone["since"].endswith("Z")
    assert sum(segment["packages"] for segment in listed.segments) == 30
    assert sum(segment["listed"] for segment in listed.segments) == 29


def test_what_oras_has_pushed(dnf, registry, tools):
    """Also packages in a tar layer, which no layer names."""
    repository = directory(dnf, [build("one")]).add(build("two"), "Packages").createrepo()
    repository.push(tools)
    listed = lines("list", tools)
    assert [line.split() for line in listed if line.endswith(".rpm")] == [
        [f"{name}-1-1.noarch", str(build(name).stat().st_size), "-", location]
        for name, location in (("one", "one-1-1.noarch.rpm"), ("two", "Packages/two-1-1.noarch.rpm"))]
    assert listed[-1].startswith("2 packages, ")


def test_a_copy_in_a_directory(dnf, tools, tmp_path):
    publish(directory(dnf, many(NAMES)), tools, *FEW)
    run("skopeo", "copy", "--all", "--preserve-digests", f"docker://{tools}", f"oci:{tmp_path}/copy:stable")
    copy = outcome("list", f"oci://{tmp_path}/copy:stable")
    assert copy.architectures == outcome("list", tools).architectures and len(copy.segments) == 2


def test_architectures(dnf, registry, tools):
    for arch in ("x86_64", "aarch64"):
        publish(directory(dnf, [build(f"for-{arch}", arch=arch), build("both")], arch), tools, "--arch", arch)
    listed = [line.split()[:2] for line in lines("list", tools) if line.endswith(".rpm")]
    assert listed == [["amd64", "both-1-1.noarch"], ["amd64", "for-x86_64-1-1.x86_64"],
                      ["arm64", "both-1-1.noarch"], ["arm64", "for-aarch64-1-1.aarch64"]]
    [one] = outcome("list", tools, "--arch", "aarch64").architectures
    assert one["arch"] == "arm64"
    refused("list", tools, "--arch", "riscv64").has("no metadata for \"riscv64\"; choose one of amd64, arm64")
    add(tools, build("new"), "--arch", "x86_64")
    old = f"{tools.rpartition(':')[0]}@{outcome('list', tools).previous}"
    [change] = outcome("diff", old, tools).changes
    assert change["arch"] == "amd64" and change["new"]["nevra"] == "new-1-1.noarch"
    assert outcome("diff", old, tools, "--arch", "aarch64").changes == []


def test_a_reference_without_a_repository(tools):
    refused("list", tools).has("there is no such repository")


def test_who_has_seen_enough_closes_the_pipe(dnf, tools):
    publish(directory(dnf, many(numbered(500))), tools)
    result = run("sh", "-c", f"dnf5-oci list {tools} | head -n 1; echo $?")
    assert result.output.splitlines()[-1] == "0"
    result.has_not("error")


def test_differences(dnf, tools):
    publish(directory(dnf, [build("app"), build("gone"), build("same"), build("changed")]), tools)
    old = f"{tools.rpartition(':')[0]}@{outcome('list', tools).digest}"
    other = build("changed", content="other bytes\n")
    publish(directory(dnf, [build("app", "2"), build("new"), build("same"), other], "second"), tools)
    differences = lines("diff", old, tools)
    assert [line.split()[:2] for line in differences[:-1]] == [
        ["-", "app-1-1.noarch"], ["+", "app-2-1.noarch"], ["!", "changed-1-1.noarch"],
        ["-", "gone-1-1.noarch"], ["+", "new-1-1.noarch"]]
    assert differences[-1].startswith("2 added, 2 removed, 1 changed; before: 4 packages, ")
    found = outcome("diff", old, tools)
    [changed] = [change for change in found.changes if change["old"] and change["new"]]
    assert changed["old"]["checksum"] == sha256(build("changed")) and changed["new"]["checksum"] == sha256(other)
    assert (found.old["packages"], found.new["packages"]) == (4, 4)
    [same] = lines("diff", tools, tools)
    assert same.startswith("0 added, 0 removed, 0 changed")


def test_differences_are_no_failure(dnf, registry, tools):
    publish(directory(dnf, [build("one")]), tools)
    other = tools.replace(":stable", ":other")
    publish(directory(dnf, [build("two")], "other"), other)
    registry.clear()
    command("diff", tools, other).has("+  two-1-1.noarch").has("-  one-1-1.noarch")
    assert not [request for request in registry.requests() if request[0] not in ("GET", "HEAD")]
    assert publishing.left_behind() == []
