"""All layouts that a repository can have in a registry."""

import gzip
import json
import os
import shutil
import time
from pathlib import Path

import pytest

from conftest import insecure
from harness.artifact import Artifact, tar
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
    # Each skopeo process asks once, when it opens the image. One that has it open may be there.
    assert len(registry.manifests()) <= len(blobs)
    return blobs


def install(dnf, registry, installed):
    """The same; a layer of the whole repository may be fetched for the metadata and for the packages."""
    installed.extend(["p-one", "p-two"])
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    dnf("-y", "install", "p-one", "p-two").has("Complete!")
    for name in ("p-one", "p-two"):
        assert Path(f"/usr/share/{name}/file").read_text() == dnf.name


def artifact(dnf, registry):
    """An artifact by hand."""
    return Artifact(registry, f"acme/{dnf.name}")


def add_files(pushed, repository, below=""):
    """Adds files of a repository as layers with their names."""
    for name in repository.files():
        if name.startswith(below):
            pushed.file(name, (repository.directory / name).read_bytes())
    return pushed


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


@pytest.fixture
def flat(dnf, packages):
    """A repository with both packages at its top."""
    repository = dnf.repository()
    for package in packages:
        repository.add(package)
    return repository.createrepo()


@pytest.fixture
def below(dnf, packages):
    """A repository with both packages in Packages/."""
    repository = dnf.repository()
    for package in packages:
        repository.add(package, "Packages")
    return repository.createrepo()


ONE = "p-one-1-1.noarch.rpm"
TWO = "p-two-1-1.noarch.rpm"


def by_hand(dnf, registry, repository, **changes):
    """Pushes a repository with the layer Packages, in which these files are changed: to links, or names
    without content."""
    files = {f"Packages/{name}": (repository.directory / "Packages" / name).read_bytes() for name in (ONE, TWO)}
    pushed = add_files(artifact(dnf, registry), repository, "repodata/")
    pushed.packed("Packages", gzip.compress(tar(files | changes)))
    pushed.push("stable")


OUTSIDE = {"absolute": "/etc/passwd", "above": "../../../../../../etc/passwd", "nothing": "nothing.rpm"}


def test_a_link_beside_the_packages(dnf, registry, installed, below):
    (below.directory / "Packages/latest.rpm").symlink_to(ONE)
    below.push(dnf.reference(registry))
    assert len(install_both(dnf, registry, installed)) == 2, "repodata and Packages"


@pytest.mark.parametrize("target", [*OUTSIDE, "itself"])
def test_a_link_to_nowhere_beside_the_packages(dnf, registry, installed, below, target):
    by_hand(dnf, registry, below, **{"Packages/latest.rpm": OUTSIDE.get(target, "latest.rpm")})
    install(dnf, registry, installed)


@pytest.mark.parametrize("pool", ["Packages/a-pool", "Packages/z-pool"])
def test_a_package_that_is_a_link(dnf, registry, installed, below, pool):
    """Wherever in the layer the file is."""
    package = below.directory / "Packages" / ONE
    (below.directory / pool).mkdir()
    package.rename(below.directory / pool / "x.rpm")
    package.symlink_to(f"{pool.split('/')[1]}/x.rpm")
    below.push(dnf.reference(registry))
    install(dnf, registry, installed)


def test_packages_below_a_link(dnf, registry, installed, below):
    """Packages/ itself is a link, in a layer of the top directory."""
    files = {f"pool/{name}": (below.directory / "Packages" / name).read_bytes() for name in (ONE, TWO)}
    pushed = add_files(artifact(dnf, registry), below, "repodata/")
    pushed.packed(".", gzip.compress(tar({"Packages": "pool", **files}))).push("stable")
    install(dnf, registry, installed)


@pytest.mark.parametrize("target", [*OUTSIDE, "itself"])
def test_a_package_that_is_a_link_to_nowhere(dnf, registry, installed, below, target):
    """It fails alone."""
    by_hand(dnf, registry, below, **{f"Packages/{ONE}": OUTSIDE.get(target, ONE)})
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    result = dnf("-y", "install", "--downloadonly", "p-one", code=1)
    assert result.output.count(f'package "Packages/{ONE}" is not in the repository') == 1, result
    installed.append("p-two")
    dnf("-y", "install", "p-two").has("Complete!")
    assert not [path for path in Path("/var/cache/dnf5-oci").rglob("*") if path.is_symlink()]


@pytest.mark.parametrize("names", ["Packages/", ""])
def test_a_directory_without_the_annotation(dnf, registry, installed, below, names):
    """As oras-py and oras-java pack it; and packed inside the directory."""
    packed = tar({f"{names}{name}": (below.directory / "Packages" / name).read_bytes() for name in (ONE, TWO)})
    pushed = add_files(artifact(dnf, registry), below, "repodata/")
    pushed.add("Packages", gzip.compress(packed))
    pushed.push("stable")
    install_both(dnf, registry, installed)


def test_as_podman_artifact_makes_it(dnf, registry, installed, flat):
    files = [flat.directory / name for name in flat.files()]
    podman = ("podman", "--storage-driver=vfs", "artifact")
    run(*podman, "add", dnf.reference(registry), *files)
    run(*podman, "push", "--tls-verify=false", dnf.reference(registry))
    install_both(dnf, registry, installed)


@pytest.mark.parametrize("names", [["."], ["../repository"], ["repository"]])
def test_a_whole_directory(dnf, registry, installed, flat, names):
    """As `oras push REF .` and, from the directory above, `oras push REF repository` make it."""
    if names == ["../repository"]:
        names = ["repository/repodata", f"repository/{ONE}", f"repository/{TWO}"]
    directory = flat.directory if names == ["."] else flat.directory.parent
    flat.push(dnf.reference(registry), *names, directory=directory)
    install(dnf, registry, installed)
    assert not [path for path in Path("/var/cache/dnf5-oci").rglob("*.rpm") if path.is_symlink()]


def test_a_whole_directory_with_subdirectories(dnf, registry, installed, below):
    below.push(dnf.reference(registry), ".")
    install(dnf, registry, installed)


def test_several_repositories_in_one_artifact(dnf, registry, flat):
    for name in ("x86_64", "aarch64"):
        shutil.copytree(flat.directory / "repodata", flat.directory / name / "repodata")
    flat.push(dnf.reference(registry), "x86_64/repodata", "aarch64/repodata")
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    dnf("repoquery", code=1).has('has several repositories, in "aarch64/", "x86_64/"')


def test_titles_that_nobody_asks_for(dnf, registry, installed, flat):
    pushed = add_files(artifact(dnf, registry), flat)
    pushed.file("README.md", b"one").file("README.md", b"two").file("LICENSE", b"x").file("LICENSE", b"y")
    pushed.push("stable")
    install_both(dnf, registry, installed)


@pytest.mark.parametrize("checksum", ["sha256", "sha512"])
def test_packages_of_one_name(dnf, registry, installed, packages, checksum):
    """Two layers have the title of one package: its checksum tells, or else its size."""
    other = build("p-one", content="another package of this name, which is longer")
    repository = dnf.repository().add(packages[0], "b").add(packages[1], "b")
    repository.createrepo("--checksum", checksum)
    pushed = add_files(artifact(dnf, registry), repository, "repodata/")
    for package in (other, *packages):
        pushed.file(package.name, package.read_bytes())
    pushed.push("stable")
    install_both(dnf, registry, installed)


@pytest.mark.parametrize("names", ["repodata/", ""])
@pytest.mark.parametrize("title", ["compose-metadata.tar.gz", "repodata.tar.gz"])
def test_metadata_in_an_archive_by_another_name(dnf, registry, installed, flat, names, title):
    files = {f"{names}{path.name}": path.read_bytes() for path in (flat.directory / "repodata").iterdir()}
    pushed = add_files(artifact(dnf, registry), flat, "p-")
    # A smaller archive without metadata.
    pushed.file("docs.tar.gz", gzip.compress(tar({"docs/README": b"nothing"})))
    pushed.file(title, gzip.compress(tar(files)))
    pushed.push("stable")
    install_both(dnf, registry, installed)


@pytest.mark.parametrize("compression", ["gz", "bz2", "xz", "zstd"])
def test_packages_without_titles(dnf, registry, installed, packages, compression):
    """They are found by the checksums in the metadata, however that is compressed."""
    repository = dnf.repository()
    for package in packages:
        repository.add(package)
    repository.createrepo("--general-compress-type", compression)
    pushed = add_files(artifact(dnf, registry), repository, "repodata/")
    for package in packages:
        pushed.add("", package.read_bytes())
    pushed.push("stable")
    install_both(dnf, registry, installed)


def test_packages_without_titles_and_sha256(dnf, registry, packages):
    repository = dnf.repository()
    for package in packages:
        repository.add(package)
    repository.createrepo("--checksum", "sha512")
    pushed = add_files(artifact(dnf, registry), repository, "repodata/")
    for package in packages:
        pushed.add("", package.read_bytes())
    pushed.push("stable")
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    result = dnf("-y", "install", "--downloadonly", "p-one", code=1)
    result.has(f'package "{ONE}" has no layer with its name, and its sha512 finds none')
    result.has("have its owner push packages with titles, or run createrepo_c with its default checksum")


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


@pytest.mark.parametrize("layout", ["flat", "directory"])
def test_the_time_of_a_package(dnf, registry, layout, packages):
    """`reposync --remote-time` gives a package the time that its layer has, or its file in it."""
    repository = dnf.repository().add(packages[0], "Packages" if layout == "directory" else "")
    [package] = repository.directory.rglob("*.rpm")
    long_ago = 1_000_000_000
    os.utime(package, (long_ago, long_ago))
    repository.createrepo()
    before = int(time.time())
    repository.push(dnf.reference(registry))
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    # It was pushed before it is fetched.
    time.sleep(1.1)
    target = dnf.tmp_path / "synced"
    dnf("reposync", "--remote-time", "--repo=tools", f"--destdir={target}")
    [synced] = target.rglob("*.rpm")
    modified = int(synced.stat().st_mtime)
    assert modified == long_ago if layout == "directory" else before <= modified < time.time() - 1
