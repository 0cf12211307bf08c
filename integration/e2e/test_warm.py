"""After a prefetch over D-Bus, the next dnf5 makes no requests."""

import hashlib

import pytest

from harness.repository import build
from harness.service import call


def prefetch(reference, *options):
    return call("PrefetchRepodata", "sssa{sv}", "tools", reference, "", *(options or ("0",)))


@pytest.fixture(params=["archive", "files"])
def pushed(dnf, registry, request):
    """A repository with its metadata in one layer, or in one layer for each file."""
    package = build("one")
    repository = dnf.repository().add(package, "Packages").createrepo()
    push = repository.push if request.param == "archive" else repository.push_files
    push(dnf.reference(registry))
    repository.reference = f"oci://{dnf.reference(registry)}"
    repository.content = package.read_bytes()
    dnf.add("tools", repository.reference)
    return repository


def test_metadata(dnf, registry, pushed):
    prefetch(pushed.reference).has('"status" s "fetched"')
    registry.clear()
    dnf("repoquery").has("one-0:1-1.noarch")
    dnf("repoquery", "--list", "one").has("/usr/share/one/file")
    assert registry.requests() == []
    prefetch(pushed.reference, "1", "max-age", "x", "3600").has('"status" s "fresh"')
    assert registry.requests() == []
    prefetch(pushed.reference).has('"status" s "unchanged"')
    assert registry.blobs() == []


def test_metadata_that_dnf5_has_fetched_are_brought_up_to_date(dnf, registry, pushed):
    dnf("repoquery").has("one-0:1-1.noarch")
    pushed.add(build("two"), "Packages").createrepo().push(pushed.reference.removeprefix("oci://"))
    dnf("repoquery").has_not("two-0:1-1.noarch")
    prefetch(pushed.reference).has('"status" s "fetched"')
    registry.clear()
    dnf("repoquery").has("two-0:1-1.noarch")
    assert registry.requests() == []
    dnf("--refresh", "repoquery").has("two-0:1-1.noarch")


def test_packages(dnf, registry, pushed, installed):
    prefetch(pushed.reference)
    digest = hashlib.sha256(pushed.content).hexdigest()
    location = "Packages/one-1-1.noarch.rpm"
    result = call("FetchPackage", "sssssta{sv}", "tools", pushed.reference, "", location,
                  f"sha256:{digest}", len(pushed.content), "0")
    path = dnf.cache("tools") / "packages/one-1-1.noarch.rpm"
    result.has(str(path))
    assert path.read_bytes() == pushed.content
    registry.clear()
    installed.append("one")
    dnf("-y", "install", "one").has("Already downloaded").has("Complete!")
    assert registry.requests() == []
