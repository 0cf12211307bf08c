"""The commands of the guide on publishing do what it says."""

import hashlib
import textwrap
from pathlib import Path

import pytest

from harness.commands import run
from harness.repository import build

GUIDE = Path(__file__).resolve().parents[2] / "docs/layouts.md"


def block(*words):
    """The one block of commands in the guide that has all these words."""
    paragraphs = GUIDE.read_text().split("\n\n")
    blocks = [textwrap.dedent(text) for text in paragraphs if text.startswith("    ")]
    [found] = [text for text in blocks if all(word in text for word in words)]
    return found


@pytest.fixture
def follow(dnf, registry):
    """Runs a block of commands in a directory with packages, for a registry without TLS."""

    def commands(text, directory):
        for command in ("oras push", "oras manifest index create"):
            text = text.replace(command, f"{command} --plain-http")
        name = dnf.reference(registry).rpartition(":")[0]
        text = text.replace("quay.io/acme/rpms", name)
        return run("sh", "-exc", text, cwd=directory)

    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    return commands


def install(dnf, *packages):
    """Has dnf5 fetch packages, with nothing cached."""
    dnf("clean", "all")
    dnf("-y", "install", "--downloadonly", *packages).has("Complete!")


def test_a_directory(dnf, follow):
    repository = dnf.repository().add(build("one")).add(build("two"))
    result = follow(block("createrepo_c .", "repodata *.rpm"), repository.directory)
    result.has("Pushed [registry] ").has("\nArtifactType: application/vnd.unknown.artifact.v1\nDigest: ")
    install(dnf, "one", "two")


def test_a_layer_for_each_package_in_a_subdirectory(dnf, registry, follow):
    repository = dnf.repository().add(build("one"), "Packages/o").add(build("two"), "Packages/t")
    repository.createrepo()
    follow(block("find Packages"), repository.directory)
    registry.clear()
    install(dnf, "one")
    _metadata, package = registry.blobs()
    assert package == "sha256:" + hashlib.sha256(build("one").read_bytes()).hexdigest()


def test_several_architectures(dnf, follow, tmp_path):
    for arch in ("x86_64", "aarch64"):
        dnf.repository(arch).add(build(f"for-{arch}", arch=arch)).createrepo()
    follow(block("linux/amd64", "linux/arm64"), tmp_path)
    dnf("--forcearch=x86_64", "repoquery").has("for-x86_64").has_not("for-aarch64")
    dnf("--forcearch=aarch64", "repoquery").has("for-aarch64").has_not("for-x86_64")


# An index that oras makes. `dnf5-oci publish` is the way that the guide recommends.
BY_HAND = """
createrepo_c .
oras push quay.io/acme/rpms:repodata repodata
oras push --artifact-platform unknown/unknown quay.io/acme/rpms:packages-a Packages/a*.rpm
oras push --artifact-platform unknown/unknown quay.io/acme/rpms:packages-b Packages/b*.rpm
oras manifest index create quay.io/acme/rpms:stable repodata packages-a packages-b
"""


@pytest.fixture
def split(dnf, follow):
    """A repository whose packages are spread over several artifacts."""
    repository = dnf.repository().add(build("a-one"), "Packages").add(build("b-two"), "Packages")
    follow(BY_HAND, repository.directory)
    return repository


def test_many_packages_outlive_a_garbage_collection(dnf, registry, split):
    install(dnf, "a-one", "b-two")
    registry.stop()
    try:
        run("docker-registry", "garbage-collect", "--delete-untagged", registry.config)
    finally:
        registry.start()
    install(dnf, "a-one", "b-two")


def test_an_index_is_copied_as_it_is(dnf, follow, split, tmp_path):
    copy = block("skopeo copy", "--preserve-digests")
    layout = f"oci:{tmp_path}/mirror:stable"
    follow(copy.replace("docker://mirror.example/acme/rpms:stable", layout), split.directory)
    dnf.add("tools", f"oci://{tmp_path}/mirror:stable")
    install(dnf, "a-one", "b-two")
