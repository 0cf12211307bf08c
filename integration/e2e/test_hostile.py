"""Hostile content from a registry neither reaches dnf5 nor leaves the cache."""

import gzip
import hashlib
import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from harness.repository import build

# The service's unpacked layers.
LAYERS = Path("/var/cache/dnf5-oci")

# dnf5 itself compares everything it receives with the metadata.
DNF5_SAYS = "checksum doesn't match"

pytestmark = pytest.mark.usefixtures("fetch")


@pytest.fixture
def good(dnf, registry, fetch):
    """A repository whose metadata is cached."""
    repository = dnf.repository().add(build("one")).createrepo()
    repository.push(dnf.reference(registry))
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    dnf("repoquery").has("one-0:1-1.noarch")
    return repository


def archive(path, *members):
    """A gzipped tar with these members."""
    with tarfile.open(path, "w:gz") as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def link(name, target):
    member = tarfile.TarInfo(name)
    member.type = tarfile.SYMTYPE
    member.linkname = target
    return member


@pytest.fixture
def refused(dnf, fetch):
    """Checks that hostile metadata is refused with one line that contains these texts, and that the
    cached metadata is still there."""
    def check(*texts):
        before = dnf.cached("tools")
        result = dnf("--refresh", "repoquery", code=1)
        lines = [line for line in result.output.splitlines()
                 if all(text in line for text in ["repository tools oci://", *texts])]
        assert len(lines) == 1, result
        if fetch == "eager":
            [line] = dnf.failed_head_starts()
            assert line.startswith("repository tools oci://") and texts[0] in line
        assert [name for name in dnf.cached("tools") if name != "attrs/expired"] == before
        dnf.is_whole("tools")
        dnf("-C", "repoquery").has("one-0:1-1.noarch")
        assert not list(LAYERS.rglob(".staged-*")), "no partial layer is left"
    return check


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def packages(dnf):
    """The packages in the cache. dnf5 leaves an empty file where it has failed."""
    top = dnf.cache("tools")
    return [name for name in dnf.cached("tools")
            if name.startswith("packages/") and (top / name).stat().st_size]


def test_a_name_that_leads_outside(dnf, registry, good, refused):
    hostile = archive(dnf.tmp_path / "x", (tarfile.TarInfo("repodata/../../../etc/escaped"), b"x"))
    good.push_with_archive(dnf.reference(registry), hostile)
    refused('"repodata/../../../etc/escaped" in the tar layer: unsafe name')
    assert not Path("/etc/escaped").exists()
    assert not list(Path("/var/cache").rglob("escaped"))


def test_a_symlink(dnf, registry, good, refused):
    hostile = archive(dnf.tmp_path / "x", (link("repodata/repomd.xml", "/etc/passwd"), b""))
    good.push_with_archive(dnf.reference(registry), hostile)
    refused('"repodata/repomd.xml" in the tar layer: neither a regular file nor a directory')


def test_a_file_elsewhere(dnf, registry, good, refused):
    hostile = archive(dnf.tmp_path / "x", (tarfile.TarInfo("packages/one-1-1.noarch.rpm"), b"x"))
    good.push_with_archive(dnf.reference(registry), hostile)
    refused('has no "repodata/repomd.xml"')


def test_an_expansion_of_10_gigabytes(dnf, registry, good, refused):
    member = tarfile.TarInfo("repodata/primary.xml")
    member.size = 10 << 30
    target = dnf.tmp_path / "x"
    with gzip.open(target, "wb", compresslevel=1) as file:
        file.write(member.tobuf())
        block = bytes(1 << 20)
        # Enough to show that the size of the layer does not matter.
        for _ in range(64):
            file.write(block)
    good.push_with_archive(dnf.reference(registry), target)
    refused('"repodata/primary.xml" in the tar layer: larger than')


def test_metadata_that_do_not_fit_repomd(dnf, registry, good, fetch):
    primary = next((good.directory / "repodata").glob("*primary*"))
    primary.write_bytes(primary.read_bytes()[:-1] + b"x")
    good.push(dnf.reference(registry))
    # dnf5 has this repomd.xml already, and no reason to look at the other files.
    dnf("--refresh", "repoquery").has("one-0:1-1.noarch")
    dnf("clean", "all")
    dnf("repoquery", code=1).has(DNF5_SAYS).has(primary.name)
    assert not [name for name in dnf.cached("tools") if name.startswith("repodata/")]
    failed = dnf.failed_head_starts()
    assert len(failed) == (2 if fetch == "eager" else 0)
    assert all(f"repodata/{primary.name[:12]}" in line for line in failed), failed


def test_repomd_that_leads_outside(dnf, registry, good, refused):
    repomd = good.directory / "repodata/repomd.xml"
    text = repomd.read_text().replace('href="repodata/', 'href="repodata/../', 1)
    repomd.write_text(text)
    good.push(dnf.reference(registry))
    refused("which is not a file in repodata/")


def test_a_package_changed_under_its_title(dnf, registry, good, fetch):
    package = good.directory / "one-1-1.noarch.rpm"
    right = sha256(package)
    package.write_bytes(package.read_bytes()[:-1] + b"x")
    good.push(dnf.reference(registry))
    registry.unlink_blob(f"acme/{dnf.name}", f"sha256:{right}")
    # With cached metadata, the service would find the right package in the metadata's manifest.
    dnf("clean", "all")
    dnf("repoquery")
    registry.clear()
    result = dnf("-y", "install", "--downloadonly", "one", code=1)
    result.tells('checksum mismatch for "one-1-1.noarch.rpm"').has(right[:12]).has(sha256(package)[:12])
    assert packages(dnf) == []
    if fetch == "eager":
        [line] = dnf.failed_head_starts()
        assert "one-1-1.noarch.rpm" in line and right[:12] in line and sha256(package)[:12] in line
    # The right one is asked for, which the registry no longer has.
    assert registry.blobs() == []


def test_a_package_changed_after_its_metadata_were_cached(dnf, registry, good):
    right = (good.directory / "one-1-1.noarch.rpm").read_bytes()
    (good.directory / "one-1-1.noarch.rpm").write_bytes(right[:-1] + b"x")
    good.push(dnf.reference(registry))
    dnf("--refresh", "-y", "install", "--downloadonly", "one")
    assert (dnf.cache("tools") / "packages/one-1-1.noarch.rpm").read_bytes() == right


def test_a_package_changed_inside_its_directory(dnf, registry, fetch):
    repository = dnf.repository().add(build("one"), "Packages").createrepo()
    package = repository.directory / "Packages/one-1-1.noarch.rpm"
    right = sha256(package)
    package.write_bytes(package.read_bytes()[:-1] + b"x")
    repository.push(dnf.reference(registry))
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    dnf("-y", "install", "--downloadonly", "one", code=1).has(DNF5_SAYS)
    assert packages(dnf) == []
    if fetch == "eager":
        [line] = dnf.failed_head_starts()
        assert "one-1-1.noarch.rpm" in line and right[:12] in line and sha256(package)[:12] in line
    dnf.is_whole("tools")


def test_a_blob_that_the_registry_has_changed(dnf, registry):
    """The registry itself sends other bytes of the same length for a digest."""
    repository = dnf.repository().add(build("one")).createrepo()
    repository.push(dnf.reference(registry))
    package = repository.directory / "one-1-1.noarch.rpm"
    digest = sha256(package)
    blob = registry.directory / f"data/docker/registry/v2/blobs/sha256/{digest[:2]}/{digest}/data"
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(content)
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    result = dnf("-y", "install", "--downloadonly", "one", code=1)
    assert result.output.count(f"mismatch: expected sha256:{digest[:12]}") == 1, result
    # dnf5 keeps what it has of a transfer that was cut, and never all of it.
    kept = dnf.cache("tools") / "packages" / package.name
    assert not kept.exists() or kept.stat().st_size < len(content)
    dnf.is_whole("tools")
    subprocess.run(["rm", blob], check=True)
