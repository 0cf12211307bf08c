"""Hostile or huge content costs no more memory and disk than it must."""

import gzip
import hashlib
import io
import os
import re
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
import zstandard

from harness import metadata
from harness.artifact import Artifact, tar
from harness.commands import run
from harness.service import NAME, SETTINGS, Service

# The service's unpacked layers.
LAYERS = Path("/var/cache/dnf5-oci")

MEGABYTE = 1 << 20
KILOBYTES = 1024

# The limits of what the service may take, in kB.
METADATA_PEAK = 32 * KILOBYTES
LAYERS_PEAK = 64 * KILOBYTES


@pytest.fixture
def disk():
    """A file system for unpacked layers alone, of the size that the test mounts it with."""
    run("rm", "-rf", LAYERS)
    LAYERS.mkdir(parents=True, exist_ok=True)

    def mount(megabytes):
        run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "tmpfs", LAYERS)
    yield mount
    run("umount", LAYERS, code=None)


@pytest.fixture
def settings():
    """Writes the service's settings, which count from its next start."""
    def write(text):
        SETTINGS.parent.mkdir(exist_ok=True)
        SETTINGS.write_text(text)
    yield write
    SETTINGS.unlink(missing_ok=True)


@pytest.fixture
def serve(tmp_path):
    """Starts the service."""
    started = []

    def start():
        started.append(Service(tmp_path / f"log-{len(started)}").start())
        return started[-1]
    yield start
    for service in started:
        service.stop()


@contextmanager
def most_used():
    """Measures the most that the file system of the layers holds meanwhile, in bytes."""
    used, done = [0], threading.Event()

    def measure():
        while not done.wait(0.001):
            disk = os.statvfs(LAYERS)
            used[0] = max(used[0], (disk.f_blocks - disk.f_bfree) * disk.f_frsize)
    thread = threading.Thread(target=measure)
    thread.start()
    try:
        yield used
    finally:
        done.set()
        thread.join()


def fetch(reference, cache, packages):
    """Has the service fetch packages, given by location with checksum and size, and returns what it
    says."""
    given = [word for location, (sha256, size) in packages.items()
             for word in (location, f"sha256:{sha256}", size)]
    return run("busctl", "--timeout=100", "call", NAME, "/io/github/dnf5_oci", f"{NAME}.Backend1",
               "FetchPackages", "sssa(sst)a{sv}", "tools", f"oci://{reference}", cache,
               len(packages), *given, 0, code=None)


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def described(files):
    return {name: (sha256(content), len(content)) for name, content in files.items()}


def many(count):
    """So many packages, and one that exists."""
    for number in range(count):
        yield metadata.package(f"Packages/p{number}.rpm", sha256=sha256(b"%d" % number), size=number)


def endless(head, part, size=600 * MEGABYTE):
    """Compressed content of this size that begins with `head` and repeats `part`."""
    packed = io.BytesIO()
    block = part * (MEGABYTE // len(part))
    with zstandard.ZstdCompressor(level=3).stream_writer(packed, closefd=False) as writer:
        writer.write(metadata.HEAD.encode() + head)
        for _ in range(size // len(block)):
            writer.write(block)
    return packed.getvalue()


ENTRY = metadata.package("Packages/x.rpm").encode()

# What makes primary metadata hostile, and what the service says of it.
HOSTILE = {
    "repeated": (lambda: endless(b"", ENTRY), "more than [0-9]+ bytes"),
    "deep": (lambda: endless(b"", b"<package>"), "nested more than 32 levels deep"),
    "long-tag": (lambda: endless(b"<package a='", b"x"), "larger than 1048576 bytes"),
    "long-name": (lambda: endless(b"<", b"x"), "larger than 1048576 bytes"),
    "attributes": (lambda: endless(b"<package ", b" a=''"), "larger than 1048576 bytes"),
    "long-value": (lambda: endless(b"<package><location href='" + 2000 * b"x" + b"'/>", b" "),
                   "longer than 1024 bytes"),
    "long-checksum": (lambda: endless(b"<package><checksum>" + 2000 * b"x" + b"<a/>", b"x"),
                      "longer than 1024 bytes"),
    "window": (lambda: with_window(27, metadata.primary(metadata.package("x.rpm"))),
               "larger than 8 MiB; have its owner"),
}


def with_window(log, content):
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=log)
    packed = io.BytesIO()
    with zstandard.ZstdCompressor(compression_params=parameters).stream_writer(packed, closefd=False) as writer:
        writer.write(content)
    return packed.getvalue()


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_metadata(dnf, registry, serve, tmp_path, kind):
    """A package is in a directory layer, so that the service reads what the metadata says of it."""
    make, line = HOSTILE[kind]
    one = {"Packages/one.rpm": b"one"}
    artifact = metadata.add(Artifact(registry, f"acme/{dnf.name}"), make(), "primary.xml.zst")
    artifact.packed("Packages", gzip.compress(tar(one))).push("stable")
    service = serve()
    result = fetch(dnf.reference(registry), tmp_path / "cache", described(one))
    assert re.search(f"repository tools oci://.*: cannot parse primary.xml: .*{line}", result.output), result
    assert len(result.output) < 600
    assert service.peak() < METADATA_PEAK
    # What dnf5 asks for next is served.
    fetch(dnf.reference(registry), tmp_path / "cache", described(one)).has("primary.xml")


@pytest.mark.parametrize("count", [70_000, 1_000_000])
def test_many_packages(dnf, registry, serve, tmp_path, count):
    one = {"Packages/one.rpm": b"one"}
    packed = io.BytesIO()
    with zstandard.ZstdCompressor(level=1).stream_writer(packed, closefd=False) as writer:
        writer.write(metadata.HEAD.encode())
        for entry in many(count):
            writer.write(entry.encode())
        writer.write((metadata.package("Packages/one.rpm", b"one") + metadata.TAIL).encode())
    artifact = metadata.add(Artifact(registry, f"acme/{dnf.name}"), packed.getvalue(), "primary.xml.zst")
    artifact.packed("Packages", gzip.compress(tar(one))).push("stable")
    service = serve()
    fetch(dnf.reference(registry), tmp_path / "cache", described(one)).has('as 1 "')
    assert (tmp_path / "cache/packages/one.rpm").read_bytes() == b"one"
    assert service.peak() < METADATA_PEAK


@pytest.mark.parametrize("log", [23, 27])
def test_layers_side_by_side(dnf, registry, serve, tmp_path, log):
    files = {f"d{number}/p{number}.rpm": bytes([number]) * (12 * MEGABYTE) for number in range(10)}
    artifact = Artifact(registry, f"acme/{dnf.name}")
    metadata.add(artifact, metadata.primary(*[metadata.package(*file) for file in files.items()]))
    for name, content in files.items():
        layer = with_window(log, tar({name: content}))
        assert len(layer) < 10 * KILOBYTES
        artifact.packed(name.split("/")[0], layer)
    artifact.push("stable")
    service = serve()
    result = fetch(dnf.reference(registry), tmp_path / "cache", described(files))
    if log == 23:
        result.has('as 10 "')
    else:
        result.has("the tar layer is damaged: its zstd window or xz dictionary is larger than 8 MiB")
        result.has("have its owner compress it with zstd without --ultra and --long")
    assert service.peak() < LAYERS_PEAK


def repository(registry, dnf, layers, listed):
    """An artifact with these directory layers, and metadata that lists these packages."""
    artifact = Artifact(registry, f"acme/{dnf.name}")
    metadata.add(artifact, metadata.primary(*listed))
    for title, files in layers.items():
        artifact.packed(title, gzip.compress(tar(files), 6))
    artifact.push("stable")
    return dnf.reference(registry)


@pytest.mark.parametrize("kind", ["unlisted", "larger", "twice"])
def test_what_nobody_asks_for_is_not_written(dnf, registry, disk, serve, tmp_path, kind):
    disk(200)
    files = {"Packages/one.rpm": b"one"}
    listed = [metadata.package("Packages/one.rpm", b"one")]
    bomb = bytes(60 * MEGABYTE)
    if kind == "unlisted":
        files = {"Packages/bomb.rpm": bomb, **files}
    elif kind == "larger":
        files = {"Packages/two.rpm": bomb, **files}
        listed.append(metadata.package("Packages/two.rpm", size=1000))
    packed = tar(files)
    if kind == "twice":
        # Without its end marker, and the zeros that fill the last record.
        first = tar({"Packages/one.rpm": bomb})
        packed = first[:512 + len(bomb)] + packed
    artifact = Artifact(registry, f"acme/{dnf.name}")
    metadata.add(artifact, metadata.primary(*listed))
    artifact.packed("Packages", gzip.compress(packed)).push("stable")
    serve()
    with most_used() as used:
        fetch(dnf.reference(registry), tmp_path / "cache", described({"Packages/one.rpm": b"one"})).has('as 1 "')
    assert used[0] < MEGABYTE


def test_a_layer_that_expands_without_end(dnf, registry, disk, serve, tmp_path):
    disk(200)
    bomb = {f"Packages/{number}.rpm": bytes(50 * MEGABYTE) for number in range(6)}
    listed = [metadata.package(*file) for file in bomb.items()]
    reference = repository(registry, dnf, {"Packages": bomb}, listed)
    serve()
    with most_used() as used:
        result = fetch(reference, tmp_path / "cache", dict(list(described(bomb).items())[5:]))
    assert re.search("repository tools oci://.*: the tar layer expands to more than [0-9]+ bytes", result.output)
    assert used[0] < 150 * MEGABYTE
    assert not list(LAYERS.rglob("*.rpm")), "nothing is left"


def test_the_disk_keeps_a_reserve(dnf, registry, disk, serve, tmp_path):
    disk(40)
    files = {"Packages/one.rpm": bytes(60 * MEGABYTE)}
    listed = [metadata.package(*file) for file in files.items()]
    reference = repository(registry, dnf, {"Packages": files}, listed)
    serve()
    with most_used() as used:
        result = fetch(reference, tmp_path / "cache", described(files))
    result.has("less than 16 MiB would be left on its file system; free space")
    assert result.output.count("\n") == 1 and used[0] < 24.5 * MEGABYTE
    assert not list(LAYERS.rglob("*.rpm")), "nothing is left"


def test_old_layers_make_room_on_the_disk(dnf, registry, disk, serve, tmp_path):
    disk(40)
    layers = {name: {f"{name}/{name}.rpm": os.urandom(15 * MEGABYTE)} for name in ("a", "b")}
    files = {name: content for directory in layers.values() for name, content in directory.items()}
    reference = repository(registry, dnf, layers, [metadata.package(*file) for file in files.items()])
    serve()
    for name, what in described(files).items():
        fetch(reference, tmp_path / "cache", {name: what}).has('as 1 "')
    assert [path.name for path in LAYERS.rglob("*.rpm")] == ["b.rpm"]


def directories(*names):
    """A package of 3 MB in each of these directories."""
    return {name: {f"{name}/{name}.rpm": os.urandom(3 * MEGABYTE)} for name in names}


def test_layers_larger_than_the_store_remove_each_other(dnf, registry, disk, serve, settings, tmp_path):
    disk(100)
    settings("[limits]\nstore-size = 4\n")
    layers = directories("a", "b")
    files = {name: content for directory in layers.values() for name, content in directory.items()}
    reference = repository(registry, dnf, layers, [metadata.package(*file) for file in files.items()])
    service = serve()
    with most_used() as used:
        for run_number in range(2):
            for name, what in described(files).items():
                fetch(reference, tmp_path / f"cache-{run_number}", {name: what}).has('as 1 "')
    assert used[0] < 4.5 * MEGABYTE
    [line] = [line for line in service.new().splitlines() if "limits.store-size is 4 MiB" in line]
    assert f"repository tools oci://{reference}: its unpacked layers remove each other" in line


def test_a_layer_larger_than_the_store(dnf, registry, disk, serve, settings, tmp_path):
    """Each package is taken out of it alone."""
    disk(100)
    settings("[limits]\nstore-size = 4\n")
    files = {f"Packages/{number}.rpm": os.urandom(2 * MEGABYTE) for number in range(3)}
    reference = repository(registry, dnf, {"Packages": files}, [metadata.package(*file) for file in files.items()])
    service = serve()
    with most_used() as used:
        for name, what in described(files).items():
            fetch(reference, tmp_path / "cache", {name: what}).has('as 1 "')
    for name, content in files.items():
        assert (tmp_path / "cache/packages" / name.split("/")[1]).read_bytes() == content
    assert used[0] < 4.5 * MEGABYTE
    [line] = [line for line in service.new().splitlines() if "limits.store-size is 4 MiB" in line]
    assert f'repository tools oci://{reference}: its layer "Packages" of 6 MiB does not fit' in line
    # One package that is larger than the store cannot be served.
    settings("[limits]\nstore-size = 1\n")
    service.stop()
    serve()
    name, what = next(iter(described(files).items()))
    result = fetch(reference, tmp_path / "other", {name: what})
    result.has("unpacked layers would take more than 1 MiB; raise limits.store-size")
