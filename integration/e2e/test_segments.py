"""dnf5 installs from an index of segments, as dnf5-oci-layout(7) describes it."""

import hashlib
import re
import shutil
from pathlib import Path

import pytest

from conftest import insecure
from harness.commands import run
from harness.lazy_cache import LazyCache
from harness.repository import build
from harness.segments import Segmented, segmented
from harness.service import call
from test_names import NAMES

PACKAGES = ("p-one", "p-two", "p-three")

# What is unpacked is kept here.
STORE = Path("/var/cache/dnf5-oci")

# dnf5 itself compares everything it receives with the metadata.
DNF5_SAYS = "checksum doesn't match"


def digest(path):
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def packages(dnf):
    """Different in each test, and so are the segments."""
    return {name: build(name, content=dnf.name) for name in PACKAGES}


@pytest.fixture
def repository(dnf, packages):
    repository = dnf.repository()
    for package in packages.values():
        repository.add(package, "Packages/p")
    return repository.createrepo()


@pytest.fixture
def publish(dnf, registry):
    """Pushes a directory as segments, and makes it dnf5's repository."""
    dnf.add("tools", f"oci://{dnf.reference(registry)}")

    def push(repository, **how):
        pushed = segmented(registry, dnf.reference(registry), repository, **how)
        registry.clear()
        return pushed
    return push


def download(dnf, *packages, code=0):
    """Has dnf5 fetch packages, which it announces."""
    return dnf("-y", "install", "--downloadonly", *packages, code=code)


def download_unannounced(dnf, *packages, code=0):
    """The same with a command that announces nothing."""
    return dnf("download", *packages, f"--destdir={dnf.tmp_path / 'downloaded'}", code=code)


def kept(dnf):
    """The packages that dnf5 has kept."""
    directories = (dnf.cache("tools") / "packages", dnf.tmp_path / "downloaded")
    return [path for directory in directories for path in directory.glob("*") if path.stat().st_size]


def fetched(dnf):
    """Their digests."""
    return set(map(digest, kept(dnf)))


def primary(repository):
    [path] = (repository.directory / "repodata").glob("*-primary.xml.*")
    return digest(path)


def test_install(dnf, registry, installed, fetch, publish, repository, packages):
    pushed = publish(repository)
    installed += ["p-one", "p-two"]
    dnf("-y", "install", "p-one").has("Complete!")
    assert Path("/usr/share/p-one/file").read_text() == dnf.name
    blobs = registry.blobs()
    assert blobs.count(primary(repository)) == 1, "dnf5's own"
    assert blobs.count(digest(packages["p-one"])) == 1
    assert not set(blobs) & set(pushed.locations), "packages are looked up by dnf5's own checksums"
    assert not set(blobs) & {digest(packages[name]) for name in ("p-two", "p-three")}
    registry.clear()
    dnf("-y", "install", "p-two").has("Complete!")
    assert registry.blobs() == [digest(packages["p-two"])]


def test_packages_that_are_not_announced(dnf, registry, publish, repository, packages):
    pushed = publish(repository)
    download_unannounced(dnf, "p-one")
    assert fetched(dnf) == {digest(packages["p-one"])}
    assert [found for found in registry.blobs() if found in pushed.locations] == pushed.locations
    registry.clear()
    download_unannounced(dnf, "p-two")
    assert registry.blobs() == [digest(packages["p-two"])]


def test_another_run_needs_no_table(dnf, registry, service, publish, repository, packages):
    """It is in the layer store, even for a service that has just been started."""
    pushed = publish(repository)
    download_unannounced(dnf, "p-one")
    assert pushed.locations[0] in registry.blobs()
    service.stop()
    service.start()
    registry.clear()
    download_unannounced(dnf, "p-three")
    assert registry.blobs() == [digest(packages["p-three"])]
    assert len(registry.manifests()) == 2
    [stored] = STORE.glob(f"*/{pushed.locations[0].replace(':', '-')}-locations")
    assert int((stored / "size").read_text()) == sum(
        path.stat().st_size for path in (stored / "files").iterdir())


def test_the_same_metadata_in_another_manifest(dnf, registry, service, publish, repository, packages):
    """As a publisher leaves it that has merged segments; nothing says where dnf5's metadata came from."""
    publish(repository)
    dnf("repoquery")
    shutil.rmtree(STORE / "manifests")
    pushed = publish(repository, per_segment=3)
    service.stop()
    service.start()
    download_unannounced(dnf, "p-one")
    assert registry.blobs() == [pushed.locations[0], digest(packages["p-one"])]


def test_a_refresh_costs_the_manifests(dnf, registry, fetch, publish, repository):
    publish(repository)
    dnf("repoquery").has("p-one-0:1-1.noarch")
    assert digest(repository.directory / "repodata/repomd.xml") not in registry.blobs()
    registry.clear()
    dnf("--refresh", "repoquery").has("p-one-0:1-1.noarch")
    paths = [path for _, path, _ in registry.requests() if path != "/v2/"]
    assert [path for path in paths if "/manifests/" not in path] == []
    assert len(paths) == 2, paths


def test_wrong_content_in_a_descriptor(dnf, registry, publish, repository, monkeypatch):
    """It is ignored, and the blob is fetched."""
    whole = Segmented.titled
    other = {"data": "c29tZXRoaW5nIGVsc2U="}
    monkeypatch.setattr(Segmented, "titled", lambda self, title, content, kind, **fields: whole(
        self, title, content, kind, **(fields and other)))
    publish(repository)
    dnf("repoquery").has("p-one-0:1-1.noarch")
    assert digest(repository.directory / "repodata/repomd.xml") in registry.blobs()


def test_signed_metadata_in_descriptors(dnf, registry, publish, repository):
    (repository.directory / "repodata/repomd.xml.asc").write_text("not a signature")
    publish(repository)
    dnf.add("tools", f"oci://{dnf.reference(registry)}", repo_gpgcheck=1)
    dnf("repoquery", code=1)
    assert digest(repository.directory / "repodata/repomd.xml.asc") not in registry.blobs()
    assert registry.blobs() == []


MALFORMED = {
    "another document": lambda table: b"<html>" + table,
    "a later version": lambda table: table.replace(b"locations 1", b"locations 2"),
    "cut": lambda table: table[:-9],
    "out of order": lambda table: b"\n".join(table.split(b"\n")[:2] + table.split(b"\n")[:1:-1][1:]) + b"\n",
    "outside": lambda table: table.replace(b"Packages/p/p-one", b"../../../p-one"),
    "no such segment": lambda table: re.sub(rb" 0 Packages", b" 3 Packages", table),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_malformed_locations(dnf, service, registry, publish, repository, packages, what):
    """The primary metadata is read instead, and the log says so once."""
    pushed = publish(repository, change=MALFORMED[what])
    dnf("repoquery")
    service.clear()
    download_unannounced(dnf, *PACKAGES)
    assert fetched(dnf) == set(map(digest, packages.values()))
    [line] = re.findall(".*locations.*cannot be used.*", service.new())
    assert "the primary metadata is read instead" in line
    assert "cannot parse the table of locations: line " in line
    assert registry.blobs().count(pushed.locations[0]) == 1


def test_locations_that_the_registry_lacks(dnf, service, registry, publish, repository, packages):
    pushed = publish(repository)
    registry.unlink_blob(pushed.artifact.name, pushed.locations[0])
    service.clear()
    download_unannounced(dnf, *PACKAGES)
    assert fetched(dnf) == set(map(digest, packages.values()))
    assert service.new().count("locations of its packages cannot be used") == 1


def test_no_locations(dnf, publish, repository, packages):
    publish(repository, change=lambda table: None)
    download_unannounced(dnf, *PACKAGES)
    assert fetched(dnf) == set(map(digest, packages.values()))


def test_locations_without_a_package(dnf, publish, repository, packages):
    """It is looked up in the primary metadata."""
    publish(repository, change=lambda table: re.sub(rb".*p-one.*\n", b"", table))
    download_unannounced(dnf, *PACKAGES)
    assert fetched(dnf) == set(map(digest, packages.values()))


def test_locations_that_lie_about_a_package(dnf, publish, repository, packages):
    """Another package of the same size comes; dnf5 sees that."""
    wrong, right = (digest(packages[name])[7:].encode() for name in ("p-two", "p-one"))
    publish(repository, change=lambda table: table.replace(right, wrong))
    download_unannounced(dnf, "p-one", code=1).has(DNF5_SAYS)
    assert kept(dnf) == []


def test_a_lie_about_an_announced_package_does_not_matter(dnf, fetch, publish, repository, packages, installed):
    wrong, right = (digest(packages[name])[7:].encode() for name in ("p-two", "p-one"))
    publish(repository, change=lambda table: table.replace(right, wrong))
    installed.append("p-one")
    dnf("-y", "install", "p-one").has("Complete!")


def test_packages_of_one_name(dnf, fetch, publish, packages):
    """In two directories, in one segment."""
    one, two = build("p-one", content="a"), build("p-one", content="another", version="2")
    repository = dnf.repository()
    for directory, package in (("a", one), ("b", two)):
        target = repository.directory / directory / "same.rpm"
        target.parent.mkdir()
        target.write_bytes(package.read_bytes())
    publish(repository.createrepo(), per_segment=2)
    for version, package in (("1", one), ("2", two)):
        dnf("clean", "packages")
        download(dnf, f"p-one-{version}")
        assert fetched(dnf) == {digest(package)}


def test_any_name(dnf, registry, publish):
    repository = dnf.repository()
    for number, name in enumerate(NAMES):
        target = repository.directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(build(f"p{number}").read_bytes())
    publish(repository.createrepo(), per_segment=5)
    target = dnf.tmp_path / "downloaded"
    dnf("download", "*", f"--destdir={target}")
    expected = {path.rsplit("/", 1)[-1]: digest(repository.directory / path) for path in NAMES}
    assert {path.name: digest(path) for path in target.iterdir()} == expected


@pytest.mark.parametrize("checksum", ["sha512", "sha224"])
def test_other_checksums(dnf, registry, fetch, publish, repository, packages, checksum):
    """The locations know the digests; dnf5 checks its own checksums."""
    repository.createrepo("--checksum", checksum)
    publish(repository)
    download(dnf, *PACKAGES)
    assert fetched(dnf) == set(map(digest, packages.values()))
    assert dnf.failed_head_starts() == []


def test_other_checksums_after_the_tag_has_moved(dnf, service, registry, publish, repository, packages):
    """dnf5 has the metadata of a manifest that is gone: the location and the size say which package it is."""
    repository.createrepo("--checksum", "sha512")
    old = publish(repository, per_segment=3)
    dnf("repoquery").has("p-one-0:1-1.noarch")
    (repository.directory / "Packages/p" / packages["p-two"].name).unlink()
    repository.createrepo("--checksum", "sha512")
    entry = next(entry for entry in old.entries if "platform" not in entry)
    run("curl", "-sfX", "DELETE", f"http://{registry.address}/v2/{old.artifact.name}/manifests/{entry['digest']}")
    publish(repository, per_segment=2)
    # The service remembers the manifest.
    service.stop()
    service.start()
    download(dnf, "p-one")
    download_unannounced(dnf, "p-one")
    assert fetched(dnf) == {digest(packages["p-one"])}


def test_old_metadata_after_the_tag_has_moved(dnf, registry, fetch, publish, repository, packages):
    """dnf5 asks for what its metadata lists, by the checksum in it."""
    publish(repository)
    dnf("repoquery").has("p-one-0:1-1.noarch")
    changed = build("p-one", content="changed")
    (repository.directory / "Packages/p" / changed.name).write_bytes(changed.read_bytes())
    publish(repository.createrepo())
    download(dnf, "p-one")
    assert fetched(dnf) == {digest(packages["p-one"])}
    dnf("clean", "packages")
    dnf("--refresh", "repoquery")
    download(dnf, "p-one")
    assert fetched(dnf) == {digest(changed)}


def test_architectures_share_segments(dnf, registry, fetch):
    name, _, tag = dnf.reference(registry).removeprefix(f"{registry.address}/").rpartition(":")
    shared = build("for-all", content=dnf.name)
    arches = {"amd64": "x86_64", "arm64": "aarch64"}
    own = {arch: build(f"for-{arch}", arch=rpm, content=dnf.name) for arch, rpm in arches.items()}
    pushed = Segmented(registry, name)
    pushed.segment({f"Packages/{path.name}": path.read_bytes() for path in (shared, *own.values())})
    for arch, package in own.items():
        repository = dnf.repository(arch).add(shared, "Packages").add(package, "Packages")
        pushed.metadata(repository.createrepo(), arch)
    pushed.push(tag)
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    for arch, rpm in arches.items():
        target = dnf.tmp_path / f"downloaded-{arch}"
        dnf(f"--forcearch={rpm}", "download", "for-*", f"--destdir={target}")
        assert {digest(path) for path in target.iterdir()} == {digest(shared), digest(own[arch])}
    dnf("--forcearch=riscv64", "--setopt=ignorearch=1", "repoquery", code=1).has("riscv64")


def test_a_garbage_collection(dnf, registry, publish, repository, packages):
    publish(repository)
    registry.stop()
    try:
        run("docker-registry", "garbage-collect", registry.config)
    finally:
        registry.start()
    download(dnf, *PACKAGES)
    assert fetched(dnf) == set(map(digest, packages.values()))


def test_a_copy_on_a_disk(dnf, registry, publish, repository, packages, fetch):
    publish(repository)
    copy = dnf.tmp_path / "copy"
    run("skopeo", "copy", "--multi-arch=all", "--preserve-digests",
        f"docker://{dnf.reference(registry)}", f"oci:{copy}:stable")
    dnf.add("tools", f"oci://{copy}:stable")
    registry.clear()
    download(dnf, *PACKAGES)
    assert fetched(dnf) == set(map(digest, packages.values()))
    assert registry.requests() == []


@pytest.fixture
def lazy(dnf, registry, publish, repository):
    """A cache in front of the registry, which dnf5 uses. Two packages are in one segment."""
    pushed = publish(repository, per_segment=2)
    manifests = {pushed.packages[location]: manifest
                 for _, manifest, locations in pushed.segments for location in locations}
    cache = LazyCache(registry, manifests)
    insecure(cache.address)
    dnf.add("tools", f"oci://{dnf.reference(registry).replace(registry.address, cache.address)}")
    yield cache, pushed
    cache.stop()


def test_a_cache_that_wants_to_be_asked_for_segments(dnf, service, lazy, packages):
    cache, pushed = lazy
    download(dnf, *PACKAGES)
    assert fetched(dnf) == set(map(digest, packages.values()))
    for variant, manifest, _ in pushed.segments:
        assert cache.count(f"/manifests/{manifest}") == 1
        assert re.search(f"INFO.* requesting the manifest of its segment.*{variant}", service.new())
    # The blob that was wanted first, and perhaps others at the same time.
    assert all(cache.count(f"/blobs/{blob}", 200) == 1 for blob in pushed.packages.values())
    assert service.new().count("requesting the manifest of its segment") == len(pushed.segments)


def test_a_cache_is_asked_for_no_other_segment(dnf, fetch, lazy):
    cache, pushed = lazy
    download(dnf, "p-one")
    asked = [manifest for _, manifest, _ in pushed.segments if cache.count(f"/manifests/{manifest}")]
    [wanted] = [manifest for _, manifest, locations in pushed.segments if any("p-one" in name for name in locations)]
    assert asked == [wanted]


def test_a_cache_that_has_no_segments_either(dnf, service, lazy):
    cache, pushed = lazy
    cache.broken = True
    result = download(dnf, "p-one", code=1)
    result.tells('package "Packages/p/p-one-1-1.noarch.rpm" is not in the repository')
    [wanted] = [manifest for _, manifest, locations in pushed.segments if any("p-one" in name for name in locations)]
    assert cache.count(f"/manifests/{wanted}") == 1, "once"
    assert "the manifest of the segment is not available" in service.new()


def test_no_segment_is_requested_where_none_has_to_be(dnf, registry, fetch, publish, repository, packages):
    pushed = publish(repository)
    download(dnf, *PACKAGES)
    dnf("clean", "packages")
    download_unannounced(dnf, *PACKAGES)
    requested = "".join(path for _, path, _ in registry.manifests())
    assert not [manifest for _, manifest, _ in pushed.segments if manifest in requested]


def test_the_doctor(dnf, registry, publish, repository, packages):
    pushed = publish(repository)
    report = run("dnf5-oci", "doctor", f"oci://{dnf.reference(registry)}")
    report.has("metadata in a layer for each file, 3 packages in 3 segments\n")
    smallest = min(packages.values(), key=lambda path: (path.stat().st_size, path.name))
    report.has(f'"Packages/p/{smallest.name}": {smallest.stat().st_size} bytes in ')
    assert digest(smallest) in registry.blobs()
    assert pushed.locations[0] in registry.blobs()


def test_inspect(dnf, registry, publish, repository):
    publish(repository)
    reply = call("Inspect", "sa{sv}", f"oci://{dnf.reference(registry)}", "0")
    reply.has('"packages" t 3').has('"segments" t 3')


@pytest.mark.parametrize("count", ["2000001", "-1", "", "1e3"])
def test_a_number_of_packages_that_cannot_be(dnf, registry, publish, repository, count, monkeypatch):
    blob = Segmented.blob

    def hostile(self, content, media_type, **fields):
        if "io.github.dnf5-oci.packages" in fields.get("annotations", {}):
            fields["annotations"]["io.github.dnf5-oci.packages"] = count
        return blob(self, content, media_type, **fields)

    monkeypatch.setattr(Segmented, "blob", hostile)
    publish(repository)
    run("dnf5-oci", "doctor", f"oci://{dnf.reference(registry)}").has("0 packages with layers of their own")
    call("Inspect", "sa{sv}", f"oci://{dnf.reference(registry)}", "0").has_not('"packages" t')
