"""While the user reads dnf5's question, connections are opened for the packages that dnf5 has announced; none of them
is fetched before the answer."""

import gzip
import hashlib
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from conftest import LOG, plugin_option
from harness import metadata
from harness.artifact import Artifact, tar
from harness.commands import processes, run, wait_until
from harness.prompt import Prompt
from harness.repository import build
from harness.service import NAME, Service, call, settings, stop_services

SKOPEO = ("skopeo", "experimental-image-proxy")

# The defaults of the settings "total-processes" and "processes".
TOTAL, EACH = 24, 20

# What the service logs of an announcement.
ANNOUNCED = "packages are announced"

LAYERS_PEAK = 64 * 1024


@pytest.fixture
def cached(dnf, registry):
    """Has dnf5 cache the metadata of a repository with so many packages, which no skopeo has open then. Returns the
    names of the packages."""
    def push(count, below=""):
        made = dnf.repository()
        names = [f"ready-{number}" for number in range(count)]
        for name in names:
            made.add(build(name, content=dnf.name), below)
        made.createrepo().push(dnf.reference(registry))
        dnf.add("tools", f"oci://{dnf.reference(registry)}")
        make_cache(dnf, registry)
        return names
    return push


@pytest.fixture
def ask():
    """Runs dnf5 until it asks. What a failed test leaves would lock the others out."""
    prompts = []

    def start(*arguments):
        prompts.append(Prompt(*arguments))
        return prompts[-1].started()
    yield start
    for prompt in prompts:
        prompt.kill()


def make_cache(dnf, registry):
    dnf("makecache")
    stop_services()
    registry.clear()


def is_quiet(registry):
    """Whether the registry gets no requests for a while."""
    before = len(registry.requests())
    time.sleep(0.5)
    return len(registry.requests()) == before


def prepared(registry):
    """Waits until the service is ready, and returns how many manifests that took."""
    wait_until(registry.manifests, "the image is opened")
    wait_until(lambda: is_quiet(registry), "the service is ready")
    return len(registry.manifests())


def active_jobs():
    return run("busctl", "get-property", NAME, "/io/github/dnf5_oci", f"{NAME}.Backend1", "ActiveJobs").output


def test_yes(ask, dnf, registry, installed, cached):
    names = cached(3)
    installed.extend(names)
    prompt = ask("install", *names)
    assert prepared(registry) == 1
    assert registry.blobs() == []
    prompt.answer("y\n").has("Complete!").has_not("oci://")
    for name in names:
        assert Path(f"/usr/share/{name}/file").read_text() == dnf.name
    assert len(registry.manifests()) == 1, "and no other one after the answer"
    assert len(registry.blobs()) == len(set(registry.blobs())) == 3


def test_no(ask, dnf, registry, cached):
    names = cached(20)
    prompt = ask("install", *names)
    # A slow machine may take another one.
    assert prepared(registry) <= 4
    prompt.answer("n\n", code=1).has("Operation aborted").has_not("oci://")
    assert registry.blobs() == []
    assert active_jobs() == "u 0\n"


@pytest.fixture
def short_idle():
    """Idle skopeo processes are kept for a second."""
    with settings("[seconds]\nprocess-idle = 1\n"):
        yield
    stop_services()


def test_connections_are_kept_while_the_user_reads(ask, dnf, registry, cached, short_idle):
    names = cached(3)
    prompt = ask("install", "--downloadonly", *names)
    asked, reading = prepared(registry), processes(*SKOPEO)
    # Three times as long as they are kept otherwise.
    time.sleep(3)
    assert processes(*SKOPEO) == reading and reading
    prompt.answer("y\n").has("Complete!")
    assert len(registry.manifests()) == asked
    wait_until(lambda: not processes(*SKOPEO), "they end")


@pytest.mark.parametrize("how", ["interrupted", "killed", "answered"])
def test_nothing_is_left_of_what_was_announced(ask, dnf, registry, cached, short_idle, how):
    names = cached(3)
    prompt = ask("install", *names)
    prepared(registry)
    if how == "interrupted":
        prompt.interrupt()
    elif how == "killed":
        prompt.kill()
    else:
        prompt.answer("n\n", code=1)
    wait_until(lambda: not processes(*SKOPEO), "they end")
    assert active_jobs() == "u 0\n"
    assert registry.blobs() == []


@pytest.mark.parametrize("arguments", [
    ["--assumeno", "install"], ["-C", "install"], ["--setopt=cacheonly=all", "install"], ["--offline", "reinstall"],
])
def test_commands_that_download_nothing(dnf, registry, tmp_path, cached, arguments):
    """They announce nothing."""
    names = cached(3)
    service = Service(tmp_path / "log").start()
    dnf(*arguments, *names, code=None)
    assert registry.requests() == []
    service.stop()
    assert ANNOUNCED not in service.new()


def test_a_transaction_that_dnf5_refuses(dnf, registry, cached):
    cached(3)
    dnf("-y", "install", "ready-0", "no-such-package", code=1)
    assert registry.requests() == []


def test_packages_that_are_cached(ask, dnf, registry, cached):
    names = cached(3)
    dnf("-y", "install", "--downloadonly", *names)
    stop_services()
    registry.clear()
    prompt = ask("install", *names)
    assert is_quiet(registry)
    prompt.answer("n\n", code=1).has("Need to download 0 B")
    assert registry.requests() == []


@contextmanager
def down(registry):
    """The registry does not run meanwhile."""
    registry.stop()
    try:
        yield
    finally:
        registry.start()


def test_a_registry_that_is_down(ask, dnf, registry, cached):
    """It is reported when something is missing because of it."""
    names = cached(1)
    with down(registry):
        prompt = ask("install", "--downloadonly", *names)
        time.sleep(2)
        assert "oci://" not in prompt.output
        result = prompt.answer("y\n", code=1)
    line = f"repository tools oci://{dnf.reference(registry)}: "
    assert result.output.count(line) == 1, result
    result.has("connection refused")
    # The failure to get ready is not remembered.
    stop_services()
    dnf("-y", "install", "--downloadonly", *names).has("Complete!")


def test_a_registry_that_comes_back(ask, dnf, registry, cached):
    names = cached(1)
    with down(registry):
        prompt = ask("install", "--downloadonly", *names)
        time.sleep(1)
    prompt.answer("y\n").has("Complete!").has_not("oci://")


@pytest.fixture
def directories(dnf, front):
    """A repository with a directory layer for each of two packages, behind a front."""
    made = dnf.repository()
    for name in ("a", "b"):
        made.add(build(f"in-{name}", content=dnf.name, size=200_000), name)
    made.createrepo()
    pushed = Artifact(front, f"acme/{dnf.name}")
    for name in made.files():
        if name.startswith("repodata/"):
            pushed.file(name, (made.directory / name).read_bytes())
    for name in ("a", "b"):
        files = {f"{name}/in-{name}-1-1.noarch.rpm": (made.directory / f"{name}/in-{name}-1-1.noarch.rpm").read_bytes()}
        pushed.packed(name, gzip.compress(tar(files), 1))
    pushed.push("stable")
    dnf.add("tools", f"oci://{front.address}/acme/{dnf.name}:stable", max_parallel_downloads=1)
    dnf("makecache")
    stop_services()
    front.clear()
    return [layer["digest"] for layer in pushed.layers[-2:]]


def test_directories_are_unpacked_side_by_side_after_the_answer(ask, dnf, front, installed, directories):
    """dnf5 asks for one package at a time; the service reads both layers meanwhile."""
    requested = {digest: threading.Event() for digest in directories}
    together = []

    def half_sent(digest):
        if digest in requested:
            requested[digest].set()
            together.append(all(event.wait(20) for event in requested.values()))

    front.half_sent = half_sent
    prompt = ask("install", "in-a", "in-b")
    wait_until(lambda: front.count("GET", "manifest"), "the image is opened")
    time.sleep(1)
    assert front.count("GET", "blob") == 0
    installed.extend(["in-a", "in-b"])
    prompt.answer("y\n").has("Complete!").has_not("oci://")
    assert front.count("GET", "blob") == 2, "each of them once"
    assert together == [True, True]


def far_away(dnf, front, tag, count=400):
    """A repository of tiny packages, which do not exist but for their bytes."""
    pushed = Artifact(front, f"acme/{dnf.name}")
    files = {f"{tag}-{number}.rpm": b"%s %d" % (tag.encode(), number) for number in range(count)}
    metadata.add(pushed, metadata.primary(*[metadata.package(*file) for file in files.items()]))
    for name, content in files.items():
        pushed.file(name, content)
    pushed.push(tag)
    dnf.add(tag, f"oci://{front.address}/acme/{dnf.name}:{tag}")


@pytest.fixture
def most_processes():
    """The most skopeo processes that there are until it is called."""
    most, done = [0], threading.Event()

    def count():
        while not done.wait(0.02):
            most[0] = max(most[0], len(processes(*SKOPEO)))

    counter = threading.Thread(target=count)
    counter.start()

    def end():
        done.set()
        counter.join()
        return most[0]
    yield end
    done.set()


@pytest.mark.parametrize("repositories", [["far"], ["far", "farther"]], ids=["one", "two"])
def test_many_packages_far_away(ask, dnf, front, most_processes, repositories):
    for tag in repositories:
        far_away(dnf, front, tag)
    dnf("makecache")
    stop_services()
    front.delay = 0.1
    front.clear()
    prompt = ask("install", "--downloadonly", "far-*", "farther-*", "--skip-unavailable")
    # Whether they are worth it is known after the first one.
    wait_until(lambda: len(processes(*SKOPEO)) > 8, "there are many")
    assert front.count("GET", "blob") == 0
    prompt.answer("y\n").has("Complete!").has_not("oci://")
    assert front.count("GET", "blob") == 400 * len(repositories)
    most = most_processes()
    assert most <= (EACH if len(repositories) == 1 else TOTAL), most
    assert front.count("GET", "manifest") <= most


# A caller that announces so many packages, and then requests the first and the last one.
MANY = """
import dbus, subprocess, sys
name, reference, checksums = "io.github.dnf5_oci", sys.argv[1], sys.stdin.read().split()
service = dbus.Interface(dbus.SystemBus().get_object(name, "/io/github/dnf5_oci"), name + ".Backend1")
url, proxy, username = service.OpenRepository("tools", reference, dbus.Dictionary({}, signature="sv"))
packages = [(f"Packages/many-{number}.rpm", checksum, dbus.UInt64(len(str(number))))
            for number, checksum in enumerate(checksums)]
service.AnnouncePackages("tools", dbus.Array(packages, signature="(sst)"), dbus.Dictionary({}, signature="sv"))
proxy = proxy.replace("localhost", f"{username}:-@localhost")
for location, _, _ in packages[0], packages[-1]:
    print(subprocess.check_output(["curl", "-sSf", f"--proxy={proxy}", f"{url}/{location}"], text=True))
"""


def test_very_many_packages(dnf, registry, tmp_path, count=25_000):
    """More than the service keeps: the others are found as if they had not been announced."""
    contents = [b"%d" % number for number in range(count)]
    pushed = Artifact(registry, f"acme/{dnf.name}")
    names = [f"Packages/many-{number}.rpm" for number in range(count)]
    metadata.add(pushed, metadata.primary(*map(metadata.package, names, contents)))
    # The title of the first one is wrong.
    pushed.file("other.rpm", contents[0]).file(names[0], b"wrong").file(names[-1], contents[-1])
    pushed.push("stable")
    service = Service(tmp_path / "log").start()
    checksums = "\n".join(f"sha256:{hashlib.sha256(content).hexdigest()}" for content in contents)
    run(sys.executable, "-c", MANY, f"oci://{dnf.reference(registry)}", answer=checksums).has(f"0\n{count - 1}\n")
    assert service.peak() < LAYERS_PEAK
    assert ANNOUNCED in service.new()
    service.stop()


def test_another_caller_changes_nothing(ask, dnf, registry, cached):
    names = cached(1)
    prompt = ask("install", "--downloadonly", *names)
    prepared(registry)
    wrong = (f"{names[0]}-1-1.noarch.rpm", f"sha256:{64 * '0'}", 1)
    announce = ("AnnouncePackages", "sa(sst)a{sv}", "tools", 1, *wrong, 0)
    call(*announce, code=1).has("repository tools is not open")
    call("AnnouncePackages", "sa(sst)a{sv}", "tools", 1, "x.rpm", "sha256:0", 1, 0, code=1).has("sha256:0")
    run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "busctl", "call", NAME, "/io/github/dnf5_oci",
        f"{NAME}.Backend1", *announce, code=1).has("Access denied")
    prompt.answer("y\n").has("Complete!").has_not("oci://")


# Stands in for an older service: it passes everything on to the service, but does not know the method.
OLDER = """#!/usr/bin/python3
import os, socket, subprocess, sys, threading

given = socket.socket(fileno=int(sys.argv[sys.argv.index("--fd") + 1]))
ours, theirs = socket.socketpair()
serving = subprocess.Popen(["/usr/bin/dnf5-oci", "serve", "--fd", str(theirs.fileno())], pass_fds=[theirs.fileno()])
theirs.close()

def relay(source, sink):
    while data := source.recv(1 << 20):
        sink.sendall(data.replace(b"AnnouncePackages", b"AnnounceNothing_"))
    sink.shutdown(socket.SHUT_WR)

threading.Thread(target=relay, args=(ours, given), daemon=True).start()
relay(given, ours)
serving.wait()
"""


def test_an_older_service(dnf, registry, installed, cached):
    """It is no failure, and the user does not see it."""
    names = cached(3)
    older = dnf.tmp_path / "dnf5-oci"
    older.write_text(OLDER)
    older.chmod(0o755)
    dnf.backend("private")
    plugin_option("#service = /usr/bin/dnf5-oci", f"service = {older}")
    installed.extend(names)
    dnf("-y", "install", *names).has("Complete!").has_not("oci://").has_not("dnf5-oci")
    assert "announcing packages failed" in LOG.read_text()
    for name in names:
        assert Path(f"/usr/share/{name}/file").read_text() == dnf.name
