"""Packages with any file name, and thousands of packages, in every layout."""

import gzip
import hashlib
import re
from pathlib import Path

import pytest

from harness.artifact import Artifact
from harness.commands import run
from harness.repository import Repository, build

NAMES = [
    "Packages/plain.rpm",
    "Packages/with space/a b.rpm",
    "Packages/a+b~c^d.rpm",
    "Packages/1:2@3.rpm",
    "Packages/%2F%25%.rpm",
    "Packages/%2E%2E/x.rpm",
    "Packages/ünï/日本.rpm",
    "Packages/a?b#c.rpm",
    "Packages/a&b;c=d,e'f\"g$h!(i)[j]{k}<l>|m*n`o.rpm",
    "Packages/back\\slash.rpm",
    "Packages/..a..b...rpm",
    "Packages/d/e/e/p/er.rpm",
    "Packages/" + "l" * 200 + ".rpm",
    "top level.rpm",
]


def content_of(repository):
    return {name: (repository.directory / name).read_bytes() for name in repository.files()}


def push(layout, artifact, files):
    """Pushes files, given by their names in the repository."""
    directories = {}
    for name, content in files.items():
        top, _, rest = name.partition("/")
        if layout == "blobs" and top != "repodata":
            artifact.blob(content)
        elif rest and layout != "files":
            directories.setdefault(top, {})[rest] = content
        else:
            artifact.file(name, content)
    for title, members in directories.items():
        artifact.directory(title, members)
    artifact.push("stable")


@pytest.fixture(scope="module")
def odd(web):
    """A repository with a package of each name, served by nginx."""
    repository = Repository(web.directory / "odd")
    for number, name in enumerate(NAMES):
        target = repository.directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(build(f"p{number}").read_bytes())
    return repository.createrepo()


def downloaded(dnf, directory):
    """Downloads all packages; returns the names and contents of the files."""
    dnf("download", "*", f"--destdir={directory}")
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir()}


@pytest.fixture(scope="module")
def over_http(odd, web, tmp_path_factory):
    """What dnf5 gets from nginx."""
    target = tmp_path_factory.mktemp("over-http")
    run("dnf5", f"--repofrompath=web,{web.url}/odd", "--repo=web", f"--setopt=cachedir={target}/cache",
        "download", "*", f"--destdir={target}/files")
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in (target / "files").iterdir()}


@pytest.mark.parametrize("layout", ["files", "directories", "blobs"])
def test_names(dnf, registry, odd, over_http, tmp_path, layout):
    push(layout, Artifact(registry, f"acme/{dnf.name}"), content_of(odd))
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    assert sorted(over_http) == sorted(Path(name).name for name in NAMES)
    assert downloaded(dnf, tmp_path / "files") == over_http


@pytest.mark.parametrize("layout", ["files", "directories", "blobs"])
@pytest.mark.parametrize("prefix", [".", "./.", "a/.."])
def test_locations_that_are_not_plain(dnf, registry, tmp_path, layout, prefix):
    dnf.name = f"locations-{layout}-{prefix.replace('/', '').replace('.', 'd')}"
    repository = dnf.repository().add(build("one"), "Packages")
    repository.createrepo("--location-prefix", prefix, "--general-compress-type", "gz")
    [primary] = repository.directory.glob("repodata/*-primary.xml.gz")
    assert f'href="{prefix}/Packages/one-1-1.noarch.rpm"' in gzip.decompress(primary.read_bytes()).decode()
    push(layout, Artifact(registry, f"acme/{dnf.name}"), content_of(repository))
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    dnf("download", "one", f"--destdir={tmp_path}")
    assert (tmp_path / "one-1-1.noarch.rpm").exists()


@pytest.mark.parametrize("layout", ["files", "directories", "blobs"])
def test_a_package_that_was_never_pushed(dnf, registry, layout):
    repository = dnf.repository().add(build("one"), "Packages").add(build("two"), "Packages").createrepo()
    files = content_of(repository)
    del files["Packages/one-1-1.noarch.rpm"]
    push(layout, Artifact(registry, f"acme/{dnf.name}"), files)
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    dnf("-y", "install", "one", code=1).has(
        f"repository tools oci://{dnf.reference(registry)}: "
        'package "Packages/one-1-1.noarch.rpm" is not in the repository; refresh the metadata with --refresh')


MANY = 2000


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """The files of a repository with many packages, of which only three are real."""
    repository = Repository(tmp_path_factory.mktemp("many") / "repository")
    for name in ("one", "two", "three"):
        repository.add(build(name), "Packages")
    repository.createrepo("--general-compress-type", "gz")
    directory = repository.directory / "repodata"
    [primary] = directory.glob("*-primary.xml.gz")
    xml = gzip.decompress(primary.read_bytes()).decode()
    sample = re.search(r"<package .*?</package>", xml, re.DOTALL).group()
    name = re.search(r"<name>(.*)</name>", sample).group(1)
    others = [f"other{number:04}" for number in range(3, MANY)]
    xml = xml.replace('packages="3"', f'packages="{MANY}"')
    added = [re.sub("[0-9a-f]{64}", hashlib.sha256(other.encode()).hexdigest(), sample.replace(name, other))
             for other in others]
    (directory / "primary.xml").write_text(xml.replace("</metadata>", "\n".join([*added, "</metadata>"])))
    run("modifyrepo_c", directory / "primary.xml", directory)
    (directory / "primary.xml").unlink()
    files = content_of(repository)
    return files | {f"Packages/{other}-1-1.noarch.rpm": other.encode() for other in others}


@pytest.mark.parametrize("layout", ["files", "directories", "blobs"])
def test_many_packages(dnf, registry, installed, many, layout):
    installed.extend(["one", "two", "three"])
    files = many
    if layout == "files":
        # The registry checks every blob: those that are not downloaded share one.
        files = {name: b"other" if "other" in name else content for name, content in many.items()}
    if layout == "blobs":
        files = {name: content for name, content in many.items() if "other" not in name}
    push(layout, Artifact(registry, f"acme/{dnf.name}"), files)
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    listed = dnf("repoquery").output.splitlines()
    assert len([line for line in listed if line.endswith("-0:1-1.noarch")]) == MANY
    registry.clear()
    dnf("-y", "install", "one", "two", "three").has("Complete!")
    for name in ("one", "two", "three"):
        assert Path(f"/usr/share/{name}/file").read_text() == f"{name} 1\n"
    assert len(registry.blobs()) == {"files": 3, "directories": 1, "blobs": 3}[layout]
