"""dnf5 gets what it has resolved: packages are found by their digests, whatever has happened to the tag and its
titles."""

import hashlib
import shutil
from pathlib import Path

import pytest

from harness.artifact import Artifact
from harness.commands import run
from harness.repository import build
from harness.segments import segmented
from harness.service import stop_services

LAYOUTS = ["flat", "files", "blobs", "segments", "directory"]


def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def publish(dnf, registry, layout, repository):
    """Pushes a repository in this layout."""
    reference = dnf.reference(registry)
    if layout == "segments":
        segmented(registry, reference, repository)
    elif layout == "files":
        repository.push_files(reference)
    elif layout == "blobs":
        repository.push(reference, "repodata")
        for package in repository.directory.rglob("*.rpm"):
            run("oras", "blob", "push", "--plain-http", reference.rsplit(":", 1)[0], package)
    else:
        repository.push(reference)


def repository(dnf, layout, name, *packages):
    """A repository with these packages, and metadata unlike that of any other."""
    made = dnf.repository(name)
    for package in packages:
        made.add(package, "Packages" if layout == "directory" else "")
    return made.createrepo()


def by_hand(dnf, registry, made, titles):
    """Pushes a repository whose packages have these titles, in this order; a package may be there several times.
    Returns the digests of the packages by their names."""
    pushed = Artifact(registry, f"acme/{dnf.name}")
    files = {name: (made.directory / name).read_bytes() for name in made.files()}
    for name, content in files.items():
        if name.startswith("repodata/"):
            pushed.file(name, content)
    for title, name in titles:
        pushed.add(title, files[name])
    pushed.push("stable")
    return {name: digest(content) for name, content in files.items() if name.endswith(".rpm")}


def another(dnf):
    """Another package of the same name and version, and of the same size."""
    return build("one", content=dnf.name[::-1])


def replaced(dnf, registry, layout, packages):
    publish(dnf, registry, layout, repository(dnf, layout, "replaced", another(dnf), packages[1]))


def removed(dnf, registry, layout, packages):
    publish(dnf, registry, layout, repository(dnf, layout, "removed", packages[1]))


def repushed(dnf, registry, layout, packages):
    publish(dnf, registry, layout, repository(dnf, layout, "repushed", *packages))


def renamed(dnf, registry, layout, packages):
    """The same metadata as before, and packages with other titles."""
    made = repository(dnf, layout, "renamed", *packages)
    shutil.rmtree(made.directory / "repodata")
    shutil.copytree(dnf.tmp_path / "before/repodata", made.directory / "repodata")
    names = [package.name for package in packages]
    by_hand(dnf, registry, made, zip(reversed(names), names, strict=True))


MOVES = {move.__name__: move for move in (replaced, removed, repushed, renamed)}
CASES = [(layout, move) for layout in LAYOUTS for move in MOVES
         if move != "renamed" or layout in ("flat", "files")]


@pytest.fixture
def packages(dnf):
    # The same layer in another test would already be unpacked.
    return [build(name, content=dnf.name) for name in ("one", "two")]


@pytest.mark.parametrize("service", ["running", "stopped"])
@pytest.mark.parametrize(("layout", "move"), CASES)
def test_the_tag_moves(dnf, registry, tmp_path, installed, packages, layout, move, service):
    publish(dnf, registry, layout, repository(dnf, layout, "before", *packages))
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    dnf("makecache")
    MOVES[move](dnf, registry, layout, packages)

    def fetch(*arguments):
        if service == "stopped":
            stop_services()
        registry.clear()
        result = dnf(*arguments).has_not("--refresh").has_not("checksum").has_not("repository tools oci")
        manifests = registry.manifests()
        # The tag, the manifest that the metadata came from, and the index entries that they lead to.
        most = 0 if service == "running" else 4 if layout == "segments" else 2
        assert len(manifests) <= most, manifests
        blobs = registry.blobs()
        assert len(blobs) == len(set(blobs)), blobs
        return result

    expected = packages[0].read_bytes()
    fetch("download", "one", f"--destdir={tmp_path}")
    assert (tmp_path / packages[0].name).read_bytes() == expected
    # By itself it fetches new metadata first, as from a web server.
    fetch("--setopt=cacheonly=metadata", "reposync", "--repoid=tools", f"--download-path={tmp_path}")
    [synced] = (tmp_path / "tools").rglob(packages[0].name)
    assert synced.read_bytes() == expected
    installed.append("one")
    fetch("-y", "install", "one").has("Complete!")
    assert Path("/usr/share/one/file").read_text() == dnf.name


def swapped(one, two):
    return [(two, one), (one, two)]


def missing(one, two):
    return [("", one), (two, two)]


def doubled(one, two):
    return [(one, two), (one, one), (two, one), (two, two)]


@pytest.mark.parametrize("service", ["running", "stopped"])
@pytest.mark.parametrize("titles", [swapped, missing, doubled])
def test_titles_that_are_wrong(dnf, registry, tmp_path, installed, packages, titles, service):
    made = repository(dnf, "flat", "made", *packages)
    names = [package.name for package in packages]
    expected = sorted(by_hand(dnf, registry, made, titles(*names)).values())
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    dnf("makecache")

    def fetch(*arguments):
        if service == "stopped":
            stop_services()
        registry.clear()
        dnf(*arguments).has_not("checksum").has_not("repository tools oci")

    fetch("download", "one", "two", f"--destdir={tmp_path}")
    # Without an announcement, the primary metadata may have to be read for what no layer leads to.
    assert sorted(found for found in registry.blobs() if found in expected) == expected
    for package in packages:
        assert (tmp_path / package.name).read_bytes() == package.read_bytes()
    installed.extend(["one", "two"])
    fetch("-y", "install", "one", "two")
    assert sorted(registry.blobs()) == expected, "each of them once, and nothing else"
    for name in ("one", "two"):
        assert Path(f"/usr/share/{name}/file").read_text() == dnf.name


@pytest.mark.parametrize("service", ["running", "stopped"])
@pytest.mark.parametrize("titles", ["locations", "names"])
def test_files_of_one_name_in_two_directories(dnf, registry, tmp_path, packages, titles, service):
    made = dnf.repository()
    for package, below in zip(packages, "ab", strict=True):
        (made.directory / below).mkdir()
        shutil.copy(package, made.directory / below / "x.rpm")
    made.createrepo()
    digests = by_hand(dnf, registry, made, [
        (name if titles == "locations" else "x.rpm", name) for name in ("b/x.rpm", "a/x.rpm")])
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    dnf("makecache")
    for package, below in zip(packages, "ab", strict=True):
        name = package.name.split("-")[0]
        for command in (("download", name, f"--destdir={tmp_path / name}"),
                        ("-y", "install", "--downloadonly", name)):
            if service == "stopped":
                stop_services()
            registry.clear()
            dnf(*command).has_not("checksum").has_not("repository tools oci")
            assert registry.blobs() == [digests[f"{below}/x.rpm"]]
        kept = dnf.cache("tools") / "packages/x.rpm"
        assert kept.read_bytes() == (tmp_path / name / "x.rpm").read_bytes() == package.read_bytes()
        kept.unlink()


@pytest.mark.parametrize("service", ["running", "stopped"])
@pytest.mark.parametrize("layout", ["flat", "files", "segments", "directory"])
def test_other_checksums(dnf, registry, tmp_path, installed, packages, layout, service):
    """They are no digests of blobs: titles and locations lead to the packages."""
    made = repository(dnf, layout, "made", *packages).createrepo("--checksum", "sha512")
    publish(dnf, registry, layout, made)
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    dnf("makecache")
    installed.extend(["one", "two"])
    for command in (("download", "one", "two", f"--destdir={tmp_path}"), ("-y", "install", "one", "two")):
        if service == "stopped":
            stop_services()
        dnf(*command).has_not("repository tools oci")
    for package in packages:
        assert (tmp_path / package.name).read_bytes() == package.read_bytes()
    assert Path("/usr/share/one/file").read_text() == dnf.name
