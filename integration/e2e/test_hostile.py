"""What a registry sends is not believed: nothing of it reaches dnf5 or leaves the cache."""

import gzip
import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from harness.commands import run
from harness.repository import build

pytestmark = pytest.mark.usefixtures("eager")


@pytest.fixture
def good(dnf, registry):
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


def refused(dnf, *texts):
    """The hostile metadata are refused with one line, and the cached ones go on."""
    before = dnf.cached("tools")
    result = dnf("--refresh", "repoquery").has("one-0:1-1.noarch")
    for text in ("repository tools oci://", *texts):
        result.has(text)
    after = [name for name in dnf.cached("tools") if name != "attrs/expired"]
    assert after == before
    dnf.is_whole("tools")


def test_a_name_that_leads_outside(dnf, registry, good):
    hostile = archive(dnf.tmp_path / "x", (tarfile.TarInfo("repodata/../../../etc/escaped"), b"x"))
    good.push_with_archive(dnf.reference(registry), hostile)
    refused(dnf, '"repodata/../../../etc/escaped", which is not a safe name')
    assert not Path("/etc/escaped").exists()
    assert not list(Path("/var/cache").rglob("escaped"))


def test_a_symlink(dnf, registry, good):
    hostile = archive(dnf.tmp_path / "x", (link("repodata/repomd.xml", "/etc/passwd"), b""))
    good.push_with_archive(dnf.reference(registry), hostile)
    refused(dnf, '"repodata/repomd.xml", which is neither a regular file')


def test_a_file_elsewhere(dnf, registry, good):
    hostile = archive(dnf.tmp_path / "x", (tarfile.TarInfo("packages/one-1-1.noarch.rpm"), b"x"))
    good.push_with_archive(dnf.reference(registry), hostile)
    refused(dnf, '"packages/one-1-1.noarch.rpm"')


def test_an_expansion_of_10_gigabytes(dnf, registry, good):
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
    refused(dnf, '"repodata/primary.xml", which is larger than')


def test_metadata_that_do_not_fit_repomd(dnf, registry, good):
    primary = next((good.directory / "repodata").glob("*primary*"))
    primary.write_bytes(primary.read_bytes()[:-1] + b"x")
    good.push(dnf.reference(registry))
    refused(dnf, "where repomd.xml says", primary.name)


def test_repomd_that_leads_outside(dnf, registry, good):
    repomd = good.directory / "repodata/repomd.xml"
    text = repomd.read_text().replace('href="repodata/', 'href="repodata/../', 1)
    repomd.write_text(text)
    good.push(dnf.reference(registry))
    refused(dnf, "which is not a file in repodata/")


def test_a_package_changed_under_its_title(dnf, registry, good):
    package = good.directory / "one-1-1.noarch.rpm"
    package.write_bytes(package.read_bytes()[:-1] + b"x")
    good.push(dnf.reference(registry))
    # With a cache, the manifest that the metadata came from would be asked for the right one.
    dnf("clean", "all")
    dnf("repoquery")
    registry.clear()
    result = dnf("-y", "install", "--downloadonly", "one", code=1)
    result.has("one-1-1.noarch.rpm").has("where its metadata say").has("repository tools oci://")
    assert registry.blobs() == [], "it is seen by its digest, before a byte of it is fetched"
    assert not [name for name in dnf.cached("tools") if name.startswith("packages/")]


def test_a_package_changed_after_its_metadata_were_cached(dnf, registry, good):
    right = (good.directory / "one-1-1.noarch.rpm").read_bytes()
    (good.directory / "one-1-1.noarch.rpm").write_bytes(right[:-1] + b"x")
    good.push(dnf.reference(registry))
    dnf("--refresh", "-y", "install", "--downloadonly", "one")
    assert (dnf.cache("tools") / "packages/one-1-1.noarch.rpm").read_bytes() == right


def test_a_package_changed_inside_its_directory(dnf, registry):
    repository = dnf.repository().add(build("one"), "Packages").describe()
    package = repository.directory / "Packages/one-1-1.noarch.rpm"
    package.write_bytes(package.read_bytes()[:-1] + b"x")
    repository.push(dnf.reference(registry))
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    dnf("-y", "install", "--downloadonly", "one", code=1).has("where its metadata say")
    assert not [name for name in dnf.cached("tools") if name.startswith("packages/")]
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
    assert not [name for name in dnf.cached("tools") if name.startswith("packages/")]
    dnf.is_whole("tools")
    subprocess.run(["rm", blob], check=True)
