"""The tag moves while the metadata is cached: dnf5 gets what its metadata describes."""

import shutil
from pathlib import Path

import pytest

from harness.commands import run
from harness.repository import build
from harness.service import stop_services

pytestmark = pytest.mark.usefixtures("fetch")

STORE = Path("/var/cache/dnf5-oci")


@pytest.fixture(params=["flat", "files", "directory"])
def layout(request):
    return request.param


def push(dnf, registry, layout, name, *packages):
    """Pushes a repository in this layout; returns its digest."""
    repository = dnf.repository(name)
    for package in packages:
        repository.add(package, "Packages" if layout == "directory" else "")
    repository.createrepo()
    pusher = repository.push_files if layout == "files" else repository.push
    return pusher(dnf.reference(registry))


@pytest.fixture
def cached(dnf, registry, layout):
    """The metadata of a repository is cached; returns the digest of its manifest."""
    digest = push(dnf, registry, layout, "before", build("one", content=dnf.name))
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    dnf("repoquery").has("one-0:1-1.noarch")
    # As on another day.
    stop_services()
    return digest


def gone(dnf, registry, layout, name="gone"):
    """The tag moves to a repository with another version."""
    return push(dnf, registry, layout, name, build("one", version="2", content=dnf.name))


def rebuilt(dnf, registry, layout):
    """The tag moves to a repository with another package of the same name, of the same size or not."""
    return push(dnf, registry, layout, "rebuilt", build("one", content=dnf.name[::-1]))


@pytest.mark.parametrize("move", [gone, rebuilt])
def test_the_package_of_the_metadata_is_installed(dnf, registry, layout, cached, installed, move):
    move(dnf, registry, layout)
    registry.clear()
    installed.append("one")
    dnf("-y", "install", "one").has("Complete!").has("0:1-1")
    assert Path("/usr/share/one/file").read_text() == dnf.name
    # The reference, and the manifest that the metadata came from.
    assert len(registry.manifests()) == 2
    # dnf5 learns of the new version when it refreshes.
    dnf("--refresh", "repoquery")
    run("rpm", "-e", "one")
    assert "0:2-1" in dnf("-y", "install", "one").output or move is rebuilt


@pytest.mark.parametrize("move", [gone, rebuilt])
@pytest.mark.parametrize("layout", ["flat", "files"], indirect=True)
@pytest.mark.parametrize("lost", ["manifest", "record"])
def test_the_checksum_is_enough(dnf, registry, layout, cached, installed, move, lost, fetch):
    """The manifest is gone, or nothing tells which one it was; the registry still has the package."""
    move(dnf, registry, layout)
    if lost == "manifest":
        run("oras", "manifest", "delete", "--plain-http", "--force",
            dnf.reference(registry).rsplit(":", 1)[0] + f"@{cached}")
    else:
        shutil.rmtree(STORE)
        (dnf.cache("tools") / "repodata/.dnf5-oci.json").unlink(missing_ok=True)
    installed.append("one")
    dnf("-y", "install", "one").has("Complete!")
    assert Path("/usr/share/one/file").read_text() == dnf.name


def test_nothing_is_asked_for_twice_while_the_tag_stays(dnf, registry, layout, cached):
    registry.clear()
    dnf("-y", "install", "--downloadonly", "one").has("Complete!")
    assert len(registry.manifests()) == 1
    assert len(registry.blobs()) == 1, "the package, or its directory"


@pytest.mark.parametrize("layout", ["flat"], indirect=True)
def test_a_package_that_is_really_gone(dnf, registry, layout, cached):
    rebuilt(dnf, registry, layout)
    name = dnf.reference(registry).rsplit(":", 1)[0]
    run("oras", "manifest", "delete", "--plain-http", "--force", f"{name}@{cached}")
    package = dnf.repository("x").add(build("one", content=dnf.name)).directory / "one-1-1.noarch.rpm"
    digest = "sha256:" + run("sha256sum", package).output.split()[0]
    registry.unlink_blob(f"acme/{dnf.name}", digest)
    result = dnf("-y", "install", "--downloadonly", "one", code=1)
    result.tells(f'checksum mismatch for "one-1-1.noarch.rpm": expected {digest}, got sha256:')
    result.has("refresh the metadata with --refresh")
