"""Repositories of web servers, mirrored into a registry."""

import shutil
import signal
import subprocess

import pytest

from harness import publishing, secrets
from harness.commands import run, wait_until
from harness.layout import conforms
from harness.publishing import FEW, Tree, install, many, numbered, outcome, refused, verify
from harness.repository import build

NAMES = numbered(50, prefix="m")
ODD = "odd+name"


class Served:
    """A repository on the web server."""

    def __init__(self, web, repository, name):
        self.web = web
        self.name = name
        self.repository = repository
        self.directory = web.directory / name
        self.url = f"{web.url}/{name}"
        self.update()

    def update(self, *options):
        self.repository.createrepo(*options)
        shutil.rmtree(self.directory, ignore_errors=True)
        run("cp", "-r", self.repository.directory, self.directory)

    def packages(self):
        """The packages that were downloaded since the last call."""
        found = [path for path in self.web.requested(self.name) if path.endswith(".rpm")]
        self.web.clear()
        return found


@pytest.fixture
def served(dnf, web):
    repository = dnf.repository()
    for package in many(NAMES):
        repository.add(package, "Packages")
    web.clear()
    return Served(web, repository, dnf.name)


@pytest.mark.parametrize("checksum", ["sha224", "sha512"])
def test_metadata_with_other_checksums_stays_as_it_is(dnf, registry, served, tools, checksum):
    served.update("--checksum", checksum)
    mirrored = outcome("mirror", served.url, tools, *FEW)
    assert (mirrored.packages, mirrored.segments) == (50, 3)
    tree = conforms(registry, tools, layers=20)
    [metadata] = tree.metadata
    digests = {layer["digest"] for layer in metadata["layers"]}
    for file in (served.directory / "repodata").iterdir():
        assert publishing.sha256(file) in digests, file
    install(dnf, *NAMES[::10])
    assert len(served.packages()) == 50
    assert not outcome("mirror", served.url, tools, *FEW).changed
    assert served.packages() == []
    served.repository.add(build(ODD), "Packages")
    served.update("--checksum", checksum)
    assert outcome("mirror", served.url, tools, *FEW).pushed < 15
    assert served.packages() == [f"Packages/{ODD}-1-1.noarch.rpm"]
    install(dnf, ODD, NAMES[0])


def test_only_new_packages_are_downloaded(dnf, registry, served, tools):
    outcome("mirror", served.url, tools, *FEW)
    first = Tree(registry, tools)
    served.packages()
    served.repository.add(build(ODD), "Packages")
    (served.repository.directory / f"Packages/{NAMES[7]}-1-1.noarch.rpm").unlink()
    served.update()
    changed = outcome("mirror", served.url, tools, *FEW)
    assert changed.added == [f"Packages/{ODD}-1-1.noarch.rpm"]
    assert changed.removed == [f"Packages/{NAMES[7]}-1-1.noarch.rpm"]
    assert served.packages() == changed.added
    tree = conforms(registry, tools, layers=20)
    assert tree.segments[:3] == first.segments
    verify(tools)
    install(dnf, ODD, NAMES[0])


def test_a_dry_run_downloads_metadata_alone(registry, served, tools):
    planned = outcome("mirror", served.url, tools, "--dry-run", *FEW)
    assert (planned.dry_run, planned.packages, len(planned.added)) == (True, 50, 50)
    assert served.packages() == []
    publishing.command("list", tools, code=1)


def test_the_signature_of_the_metadata_is_kept(registry, served, tools):
    signature = served.directory / "repodata/repomd.xml.asc"
    signature.write_text("a signature\n")
    outcome("mirror", served.url, tools)
    [metadata] = Tree(registry, tools).metadata
    digests = {publishing.title(layer): layer["digest"] for layer in metadata["layers"]}
    assert digests["repodata/repomd.xml.asc"] == publishing.sha256(signature)


def test_wrong_packages_are_refused(registry, served, tools):
    outcome("mirror", served.url, tools, *FEW)
    before = publishing.tag_digest(registry, tools)
    served.repository.add(build("late"), "Packages")
    served.update()
    package = served.directory / "Packages/late-1-1.noarch.rpm"
    right = package.read_bytes()
    for content, reason in [
        (right[:-1] + b"x", "late-1-1.noarch.rpm: checksum mismatch"),
        (right[:-1], "late-1-1.noarch.rpm: size mismatch"),
        (right + b"x", "late-1-1.noarch.rpm"),
        (None, "late-1-1.noarch.rpm"),
    ]:
        package.unlink()
        if content is not None:
            package.write_bytes(content)
        refused("mirror", served.url, tools, *FEW).has(reason)
        assert publishing.tag_digest(registry, tools) == before


def test_what_is_no_repository(served, tools):
    refused("mirror", f"{served.url}/none", tools).has("repodata/repomd.xml")
    refused("mirror", "http://localhost:9/x", tools).has("repodata/repomd.xml")
    refused("mirror", "https://", tools).has("not a URL of the form")


def test_a_password_in_the_url_is_not_shown(served, tools):
    secrets.register("the-web-password", "me")
    url = served.url.replace("://", "://me:the-web-password@")
    refused("mirror", f"{url}/none", tools)
    outcome("mirror", url, tools)


def test_killed_and_run_again(dnf, registry, served, tools):
    process = subprocess.Popen(["dnf5-oci", "mirror", served.url, tools, "--layers-per-manifest", "8", "--quiet"])
    wait_until(lambda: registry.requests("/manifests/sha256"), "a segment is pushed")
    process.send_signal(signal.SIGKILL)
    process.wait()
    outcome("mirror", served.url, tools, "--layers-per-manifest", "8")
    conforms(registry, tools, layers=8)
    verify(tools)
    install(dnf, *NAMES[::10])


def test_a_layout_without_what_the_target_lacks(dnf, registry, served, tools, tmp_path):
    first = outcome("mirror", served.url, tools, *FEW)
    served.repository.add(build(ODD), "Packages")
    served.update()
    outcome("mirror", served.url, tools, *FEW)
    layout = f"oci:{tmp_path}/stick"
    outcome("mirror", tools, layout, "--since", first.digest)
    other = tools.replace("/acme/", "/elsewhere/")
    refused("mirror", layout, other).has("export it again, whole or with an older --since")
    outcome("mirror", tools, layout)
    outcome("mirror", layout, other)
    verify(other)
    refused("mirror", layout, f"oci:{tmp_path}/other").has("one of the two must be in a registry")
    refused("mirror", layout, tools, "--since", first.digest).has("--since is for")
