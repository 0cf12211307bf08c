"""What a registry sends is not believed: nothing of it reaches dnf5 or leaves the cache."""

import gzip
import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from harness.commands import run
from harness.repository import build


# Where the service keeps layers that it has unpacked.
LAYERS = Path("/var/cache/dnf5-oci")

# On demand it is dnf5 that compares what it gets with the metadata.
DNF5_SAYS = "checksum doesn't match"


@pytest.fixture(params=["eager", "on-demand"], autouse=True)
def fetch(request):
    """When content is fetched."""
    if request.param == "eager":
        request.getfixturevalue("eager")
    return request.param


@pytest.fixture
def good(dnf, registry, fetch):
    """A repository that is cached already."""
    repository = dnf.repository().add(build("one")).describe()
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
    """Checks that the hostile metadata are refused, with a line that has these texts, and that the
    cached ones are still there. dnf5 goes on with them only where it does not know of the others."""
    def check(*texts):
        before = dnf.cached("tools")
        result = dnf("--refresh", "repoquery", code=0 if fetch == "eager" else 1)
        lines = [line for line in result.output.splitlines()
                 if all(text in line for text in ["repository tools oci://", *texts])]
        assert len(lines) == 1, result
        assert [name for name in dnf.cached("tools") if name != "attrs/expired"] == before
        dnf.is_whole("tools")
        dnf("-C", "repoquery").has("one-0:1-1.noarch")
        assert not list(LAYERS.rglob(".staged-*")), "nothing half is kept of a layer"
    return check


def packages(dnf):
    """The packages in the cache. An empty file is what dnf5 writes to."""
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


def test_a_file_elsewhere(dnf, registry, good, refused, fetch):
    hostile = archive(dnf.tmp_path / "x", (tarfile.TarInfo("packages/one-1-1.noarch.rpm"), b"x"))
    good.push_with_archive(dnf.reference(registry), hostile)
    refused('"packages/one-1-1.noarch.rpm"' if fetch == "eager" else 'has no "repodata/repomd.xml"')


def test_an_expansion_of_10_gigabytes(dnf, registry, good, refused):
    member = tarfile.TarInfo("repodata/primary.xml")
    member.size = 10 << 30
    target = dnf.tmp_path / "x"
    with gzip.open(target, "wb", compresslevel=1) as file:
        file.write(member.tobuf())
        block = bytes(1 << 20)
        # As much as shows that it is not the size of the layer that counts.
        for _ in range(64):
            file.write(block)
    good.push_with_archive(dnf.reference(registry), target)
    refused('"repodata/primary.xml" in the tar layer: larger than')


def test_metadata_that_do_not_fit_repomd(dnf, registry, good, refused, fetch):
    primary = next((good.directory / "repodata").glob("*primary*"))
    primary.write_bytes(primary.read_bytes()[:-1] + b"x")
    good.push(dnf.reference(registry))
    if fetch == "eager":
        refused(f'checksum mismatch for "repodata/{primary.name}": expected ')
    else:
        # dnf5 has that repomd.xml already, and so no reason to look at the others.
        dnf("--refresh", "repoquery").has("one-0:1-1.noarch")
        dnf("clean", "all")
        dnf("repoquery", code=1).has(DNF5_SAYS).has(primary.name)
        assert not [name for name in dnf.cached("tools") if name.startswith("repodata/")]


def test_repomd_that_leads_outside(dnf, registry, good, refused):
    repomd = good.directory / "repodata/repomd.xml"
    text = repomd.read_text().replace('href="repodata/', 'href="repodata/../', 1)
    repomd.write_text(text)
    good.push(dnf.reference(registry))
    refused("which is not a file in repodata/")


def test_a_package_changed_under_its_title(dnf, registry, good, fetch):
    package = good.directory / "one-1-1.noarch.rpm"
    package.write_bytes(package.read_bytes()[:-1] + b"x")
    good.push(dnf.reference(registry))
    # With a cache, the manifest that the metadata came from would be asked for the right one.
    dnf("clean", "all")
    dnf("repoquery")
    registry.clear()
    result = dnf("-y", "install", "--downloadonly", "one", code=1).has("one-1-1.noarch.rpm")
    if fetch == "eager":
        result.has("where its metadata say").has("repository tools oci://")
        assert registry.blobs() == [], "it is seen by its digest, before a byte of it is fetched"
    else:
        result.has(DNF5_SAYS)
    assert packages(dnf) == []


def test_a_package_changed_after_its_metadata_were_cached(dnf, registry, good, fetch):
    right = (good.directory / "one-1-1.noarch.rpm").read_bytes()
    (good.directory / "one-1-1.noarch.rpm").write_bytes(right[:-1] + b"x")
    good.push(dnf.reference(registry))
    if fetch == "eager":
        dnf("--refresh", "-y", "install", "--downloadonly", "one")
        assert (dnf.cache("tools") / "packages/one-1-1.noarch.rpm").read_bytes() == right
    else:
        dnf("--refresh", "-y", "install", "--downloadonly", "one", code=1).has(DNF5_SAYS)
        assert packages(dnf) == []


def test_a_package_changed_inside_its_directory(dnf, registry, fetch):
    repository = dnf.repository().add(build("one"), "Packages").describe()
    package = repository.directory / "Packages/one-1-1.noarch.rpm"
    package.write_bytes(package.read_bytes()[:-1] + b"x")
    repository.push(dnf.reference(registry))
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    says = "checksum mismatch for" if fetch == "eager" else DNF5_SAYS
    dnf("-y", "install", "--downloadonly", "one", code=1).has(says)
    assert packages(dnf) == []
    dnf.is_whole("tools")


def test_a_blob_that_the_registry_has_changed(dnf, registry):
    """The registry itself lies: other bytes of the same length under the digest."""
    repository = dnf.repository().add(build("one")).describe()
    repository.push(dnf.reference(registry))
    package = repository.directory / "one-1-1.noarch.rpm"
    digest = run("sha256sum", package).output.split()[0]
    blob = registry.directory / f"data/docker/registry/v2/blobs/sha256/{digest[:2]}/{digest}/data"
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(content)
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    dnf("-y", "install", "--downloadonly", "one", code=1).has(f"sha256:{digest} was sent as sha256:")
    assert packages(dnf) == []
    dnf.is_whole("tools")
    subprocess.run(["rm", blob], check=True)
