"""All layouts that a repository can have in a registry."""

import json
from pathlib import Path

import pytest

from conftest import insecure
from harness.commands import run
from harness.repository import build

pytestmark = pytest.mark.usefixtures("fetch")


def install_both(dnf, registry, installed):
    """Installs p-one and p-two from the repository that was pushed; returns the blobs that this took."""
    installed.extend(["p-one", "p-two"])
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    registry.clear()
    dnf("-y", "install", "p-one", "p-two").has("Complete!")
    for name in ("p-one", "p-two"):
        assert Path(f"/usr/share/{name}/file").read_text() == dnf.name
    blobs = registry.blobs()
    assert blobs and len(blobs) == len(set(blobs)), f"each blob once: {blobs}"
    # Each skopeo process asks once, when it opens the image.
    assert 1 <= len(registry.manifests()) <= len(blobs)
    return blobs


@pytest.fixture
def packages(dnf):
    # The same layer in another test would already be unpacked.
    return [build("p-one", content=dnf.name), build("p-two", content=dnf.name)]


def test_directories_as_layers(dnf, registry, installed, packages):
    repository = dnf.repository()
    for package in packages:
        repository.add(package, "Packages/p")
    repository.createrepo().push(dnf.reference(registry))
    assert len(install_both(dnf, registry, installed)) == 2, "repodata and Packages"


def test_two_directories_by_architecture(dnf, registry, installed, packages):
    repository = dnf.repository().add(packages[0], "noarch").add(packages[1], "x86_64")
    repository.createrepo().push(dnf.reference(registry))
    assert len(install_both(dnf, registry, installed)) == 3, "repodata, noarch and x86_64"


def test_every_file_a_layer(dnf, registry, installed, packages, fetch):
    repository = dnf.repository()
    for package in packages:
        repository.add(package, "Packages/p")
    repository.createrepo().push_files(dnf.reference(registry))
    files = [name for name in repository.files() if name.startswith("repodata/")]
    blobs = install_both(dnf, registry, installed)
    cached = [name for name in dnf.cached("tools") if name in files]
    assert len(blobs) == len(cached) + 2
    # The service does not know which metadata dnf5 will load; dnf5 asks for what it loads.
    assert cached == (files if fetch == "eager" else
                      [name for name in files if "primary" in name or "repomd" in name])


@pytest.mark.parametrize("compression", ["tar", "gz", "zst"])
def test_compressions_of_the_metadata(dnf, registry, installed, packages, compression):
    repository = dnf.repository()
    for package in packages:
        repository.add(package)
    archive = repository.createrepo().archive(compression, dnf.tmp_path / "metadata")
    repository.push_with_archive(dnf.reference(registry), archive)
    assert len(install_both(dnf, registry, installed)) == 3, "the metadata and two packages"


@pytest.mark.parametrize("checksum", ["sha512", "sha384", "sha224"])
def test_checksums_of_the_metadata(dnf, registry, installed, packages, checksum):
    repository = dnf.repository()
    for package in packages:
        repository.add(package)
    repository.createrepo("--checksum", checksum).push(dnf.reference(registry))
    assert len(install_both(dnf, registry, installed)) == 3, "the metadata and two packages"


def test_packages_that_are_only_blobs(dnf, registry, installed, packages):
    repository = dnf.repository()
    for package in packages:
        repository.add(package, "Packages")
    repository.createrepo().push(dnf.reference(registry), "repodata")
    name = dnf.reference(registry).rsplit(":", 1)[0]
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    result = dnf("-y", "install", "p-one", code=1)
    assert result.output.count('"Packages/p-one-1-1.noarch.rpm" is not in the repository') == 1, result
    for package in packages:
        run("oras", "blob", "push", "--plain-http", name, package)
    assert len(install_both(dnf, registry, installed)) == 2, "the packages"


def test_index_of_architectures(dnf, registry):
    for arch, package in (("amd64", "for-amd"), ("arm64", "for-arm")):
        repository = dnf.repository(arch).add(build(package)).createrepo()
        config = dnf.tmp_path / f"{arch}.json"
        config.write_text(json.dumps({"architecture": arch, "os": "linux"}))
        repository.push(dnf.reference(registry, arch), options=[
            "--config", f"../{config.name}:application/vnd.oci.image.config.v1+json",
            "--disable-path-validation",
        ])
    run("oras", "manifest", "index", "create", "--plain-http", dnf.reference(registry),
        "amd64", "arm64")
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    registry.clear()
    dnf("repoquery").has("for-amd").has_not("for-arm")
    assert len(registry.manifests()) == 2, "the index and its entry"
    assert len(registry.blobs()) == 1, "the metadata"


def test_local_layout(dnf, registry, installed, packages):
    repository = dnf.repository()
    for package in packages:
        repository.add(package)
    repository.createrepo().push(dnf.reference(registry))
    insecure(registry.address)
    run("skopeo", "copy", f"docker://{dnf.reference(registry)}", "oci:/srv/mirror:stable")
    dnf.add("tools", "oci:///srv/mirror:stable")
    registry.clear()
    installed.append("p-one")
    dnf("-y", "install", "p-one").has("Complete!")
    assert Path("/usr/share/p-one/file").read_text() == dnf.name
    assert registry.requests() == []


def test_no_repository_at_all(dnf, registry, fetch):
    (dnf.tmp_path / "readme.txt").write_text("hello")
    run("oras", "push", "--plain-http", dnf.reference(registry), "readme.txt", cwd=dnf.tmp_path)
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    registry.clear()
    result = dnf("repoquery", code=1).has("has no repodata").has('"readme.txt"').has("oras push")
    assert result.output.count("repository tools oci://") == 1, result
    # Ahead of dnf5, and for dnf5 itself.
    assert len(registry.manifests()) == (2 if fetch == "eager" else 1)
    assert registry.blobs() == []
