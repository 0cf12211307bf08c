"""The registry is asked which manifest a tag leads to when something depends on it, and not otherwise."""

import os
import shutil
from pathlib import Path

import pytest

from conftest import CONTAINERS
from harness.artifact import Artifact
from harness.commands import run
from harness.repository import build
from harness.service import stop_services
from harness.signing import ANYTHING, NOTHING, POLICY, policy

# What says which manifest dnf5's metadata came from.
RECORDS = Path("/var/cache/dnf5-oci/manifests")

# Where skopeo looks for credentials as root.
AUTH_FILE = Path("/run/containers/0/auth.json")


@pytest.fixture
def cached(dnf, registry):
    """Pushes so many repositories, each with two packages, and has dnf5 cache their metadata. Returns the names of the
    packages."""
    def push(count):
        for number in range(count):
            made = dnf.repository(f"made-{number}")
            for name in ("a", "b"):
                made.add(build(f"{name}-{number}"))
            made.createrepo().push(dnf.reference(registry, tag=f"{number}"))
            dnf.add(f"tools-{number}", f"oci://{dnf.reference(registry, tag=f'{number}')}")
        dnf("makecache")
        registry.clear()
        return [f"{name}-{number}" for number in range(count) for name in ("a", "b")]
    return push


@pytest.fixture
def containers():
    """Restores podman's files."""
    original = POLICY.read_text()
    conf = CONTAINERS / "registries.conf.d/new.conf"
    yield conf
    POLICY.write_text(original)
    conf.unlink(missing_ok=True)
    AUTH_FILE.unlink(missing_ok=True)


def install(dnf, *names, **options):
    return dnf("-y", "install", "--downloadonly", *names, **options)


def forget():
    """Nothing tells which manifest the metadata came from. An open image is good enough for a blob then."""
    assert RECORDS.is_dir()
    shutil.rmtree(RECORDS)


@pytest.mark.parametrize("is_known", [True, False], ids=["known", "forgotten"])
@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_none_while_an_image_is_open(dnf, registry, cached, count, is_known):
    names = cached(count)
    if not is_known:
        forget()
    install(dnf, *names).has("Complete!").has_not("oci://")
    assert registry.manifests() == []
    blobs = registry.blobs()
    assert len(blobs) == len(set(blobs)) == len(names), blobs


def test_none_for_what_is_asked_for_again(dnf, registry, cached):
    """Each dnf5 is a session of its own."""
    first, *others = cached(2)
    install(dnf, first)
    dnf("download", first, f"--destdir={dnf.tmp_path}")
    install(dnf, *others)
    assert registry.manifests() == []


def test_the_image_is_opened_once_where_none_is_open(dnf, registry, cached):
    names = cached(2)
    stop_services()
    install(dnf, *names)
    assert len(registry.manifests()) == 2, "one for each repository"


def test_a_refresh_looks_the_tag_up(dnf, registry, cached):
    names = cached(1)
    install(dnf, "--refresh", *names)
    assert len(registry.manifests()) == 1


def test_a_policy_that_rejects_what_was_accepted(dnf, registry, containers, cached):
    names = cached(5)
    policy({}, default=NOTHING)
    result = install(dnf, *names, code=1)
    result.has("is rejected by policy").tells(f"{POLICY}, default: rejects everything")
    assert registry.blobs() == []
    policy({}, default=ANYTHING)
    install(dnf, *names)
    assert len(registry.manifests()) >= 5


def a_mirror(registry, conf):
    """Of a repository elsewhere."""
    conf.write_text('[[registry]]\nlocation = "registry.example"\n')


def a_login(registry, conf):
    AUTH_FILE.parent.mkdir(parents=True, exist_ok=True)
    AUTH_FILE.write_text('{"auths": {}}')


def a_touch(registry, conf):
    """The content stays."""
    then = POLICY.stat().st_mtime
    os.utime(POLICY, (then + 10, then + 10))


@pytest.mark.parametrize("is_known", [True, False], ids=["known", "forgotten"])
@pytest.mark.parametrize("change", [a_mirror, a_login, a_touch])
def test_a_changed_configuration_is_asked(dnf, registry, containers, cached, change, is_known, count=2):
    names = cached(count)
    if not is_known:
        forget()
    change(registry, containers)
    install(dnf, *names).has("Complete!")
    # The packages are few: each repository takes one image.
    assert len(registry.manifests()) == count
    assert len(registry.blobs()) == len(names)


def test_what_no_digest_is_known_of(dnf, registry):
    """dnf5's metadata has other checksums, so the manifest says what the package is."""
    made = dnf.repository().add(build("p")).createrepo("--checksum", "sha512")
    made.push(dnf.reference(registry))
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    dnf("makecache")
    forget()
    registry.clear()
    install(dnf, "p").has("Complete!")
    assert len(registry.manifests()) == 1


def test_what_is_no_blob(dnf, registry, installed):
    """Its manifest says which directory it is in."""
    made = dnf.repository().add(build("p", content=dnf.name), "Packages").createrepo()
    made.push(dnf.reference(registry))
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    dnf("makecache")
    forget()
    registry.clear()
    installed.append("p")
    dnf("-y", "install", "p").has("Complete!").has_not("oci://")
    assert Path("/usr/share/p/file").read_text() == dnf.name
    assert len(registry.blobs()) == len(registry.manifests()) == 1


@pytest.mark.parametrize("is_known", [True, False], ids=["known", "forgotten"])
def test_a_tag_that_is_gone(dnf, registry, cached, is_known):
    """The packages are still there, and an image of the repository is open."""
    names = cached(2)
    if not is_known:
        forget()
    for number in range(2):
        run("oras", "manifest", "delete", "--plain-http", "--force", dnf.reference(registry, tag=f"{number}"))
    registry.clear()
    install(dnf, *names).has("Complete!").has_not("oci://")
    assert registry.manifests() == []


@pytest.mark.parametrize("is_running", [True, False], ids=["running", "stopped"])
def test_a_tag_that_leads_to_no_repository_any_more(dnf, registry, cached, is_running):
    names = cached(1)
    Artifact(registry, f"acme/{dnf.name}").file("readme.txt", b"nothing").push("0")
    if not is_running:
        stop_services()
    install(dnf, *names).has("Complete!").has_not("oci://")
