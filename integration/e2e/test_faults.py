"""The registry, the service or skopeo fails at the worst moment."""

import os
import signal
import subprocess

import pytest

from conftest import CACHE, insecure
from harness.commands import processes, run, wait_until
from harness.registry import Registry
from harness.relay import Relay
from harness.repository import build
from harness.service import peak

pytestmark = pytest.mark.usefixtures("fetch")

SERVICE = ("dnf5-oci", "serve")
SKOPEO = ("skopeo", "experimental-image-proxy")
SLOW_PORT = 5010
STALLING_PORT = 5011
MEGABYTE = 1 << 20

# The size of a large package, in bytes.
SIZE = 24 * MEGABYTE


@pytest.fixture(scope="module")
def slow(registry):
    """The same registry, limited to eight megabytes per second."""
    relay = Relay(SLOW_PORT, registry.port, rate=8 * MEGABYTE)
    insecure(f"localhost:{SLOW_PORT}")
    return relay


def large(dnf, registry, port, size=SIZE):
    """A repository with a large package, reached through another port."""
    dnf.repository().add(build("large", size=size)).createrepo().push(dnf.reference(registry))
    reference = dnf.reference(registry).replace(str(registry.port), str(port), 1)
    dnf.add("tools", f"oci://{reference}")


def start(*arguments):
    """Starts dnf5 in the background."""
    return subprocess.Popen(["dnf5", *arguments], stdin=subprocess.DEVNULL, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def partial():
    """The files that have received the first megabyte of a package: the service writes to a temporary
    file, dnf5 to the package's own."""
    return [path for pattern in (".dnf5-oci-package-*", "packages/*")
            for path in CACHE.glob(f"tools-*/{pattern}") if path.stat().st_size > MEGABYTE]


def package(dnf):
    return dnf.cache("tools") / "packages/large-1-1.noarch.rpm"


class TestRegistryDown:
    def test_the_cache_still_answers(self, dnf, tmp_path):
        own = Registry(tmp_path / "own", 5020).start()
        insecure(own.address)
        dnf.repository().add(build("one")).createrepo().push(dnf.reference(own))
        dnf.add("tools", f"oci://{dnf.reference(own)}")
        dnf("repoquery")
        own.stop()
        dnf("repoquery").has("one-0:1-1.noarch").has_not("refused")
        result = dnf("--refresh", "repoquery", code=1)
        assert result.output.count("connection refused") == 1, result
        dnf("-C", "repoquery").has("one-0:1-1.noarch").has_not("refused")

    def test_without_a_cache_there_is_one_clear_line(self, dnf):
        dnf.add("tools", "oci://localhost:5021/acme/rpms:1")
        result = dnf("repoquery", code=1)
        result.has("repository tools oci://localhost:5021/acme/rpms:1: ").has("connection refused")
        result.has_not("Unsupported protocol")
        assert result.output.count("connection refused") == 1, result

    def test_skip_if_unavailable_goes_on(self, dnf, registry):
        dnf.repository().add(build("one")).createrepo().push(dnf.reference(registry))
        dnf.add("tools", f"oci://{dnf.reference(registry)}")
        dnf.add("down", "oci://localhost:5021/acme/rpms:1", skip_if_unavailable=1)
        result = dnf("repoquery").has("one-0:1-1.noarch")
        assert result.output.count("repository down oci://") == 1, result
        dnf.add("down", "oci://localhost:5021/acme/rpms:1", skip_if_unavailable=0)
        dnf("repoquery", code=1).has_not("one-0:1-1.noarch")


def test_a_bad_reference_names_repository_and_reason(dnf):
    dnf.add("tools", "oci://acme/rpms")
    dnf("repoquery", code=1).has('repository tools: invalid reference "oci://acme/rpms": "acme"')


def test_the_service_is_killed(dnf, registry, slow, fetch):
    large(dnf, registry, SLOW_PORT)
    dnf("repoquery")
    running = start("-y", "install", "--downloadonly", "large")
    wait_until(partial, "some of the package is there")
    os.kill(processes(*SERVICE)[0], signal.SIGKILL)
    output, _ = running.communicate(timeout=60)
    assert running.returncode == 1, output
    [line] = [line for line in output.splitlines() if "dnf5-oci service" in line]
    assert " again" in line, output
    assert package(dnf) not in partial()
    wait_until(lambda: not processes(*SKOPEO), "skopeo dies with the service")
    result = dnf("-y", "install", "--downloadonly", "large").has("Complete!")
    assert ("Already downloaded" in result.output) == (fetch == "eager"), result
    assert package(dnf).stat().st_size > SIZE
    dnf.is_whole("tools")


def test_skopeo_is_killed(dnf, registry, slow):
    large(dnf, registry, SLOW_PORT)
    dnf("repoquery")
    running = start("-y", "install", "--downloadonly", "large")
    wait_until(partial, "some of the package is there")
    for process in processes(*SKOPEO):
        os.kill(process, signal.SIGKILL)
    output, _ = running.communicate(timeout=60)
    assert running.returncode == 0, output
    assert package(dnf).stat().st_size > SIZE
    dnf.is_whole("tools")


@pytest.mark.parametrize("backend", ["system", "private"])
def test_dnf5_is_interrupted(dnf, registry, slow, backend):
    large(dnf, registry, SLOW_PORT)
    dnf.backend(backend)
    dnf("repoquery")
    running = start("-y", "install", "--downloadonly", "large")
    wait_until(partial, "some of the package is there")
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=60)
    assert running.returncode != 0
    # Data that is in flight may still arrive.
    wait_until(slow.is_quiet, "the registry is left alone")
    assert not partial(), "the download was cancelled, not finished"
    dnf.is_whole("tools")
    if backend == "system":
        run("busctl", "get-property", "io.github.dnf5_oci", "/io/github/dnf5_oci",
            "io.github.dnf5_oci.Backend1", "ActiveJobs").has("u 0")


def test_two_at_once(dnf, registry, slow):
    large(dnf, registry, SLOW_PORT)
    # libdnf5 takes no lock when it puts new metadata into the cache; two at once can collide, over HTTP as well.
    dnf("repoquery")
    both = [start("-y", "install", "--downloadonly", "large") for _ in range(2)]
    for running in both:
        output, _ = running.communicate(timeout=60)
        assert running.returncode == 0, output
    assert package(dnf).stat().st_size > SIZE
    dnf.is_whole("tools")


def test_a_large_package_takes_little_memory(dnf, registry):
    large(dnf, registry, registry.port, size=300 * MEGABYTE)
    dnf("-y", "install", "--downloadonly", "large").has("Complete!")
    [process] = processes(*SERVICE)
    assert peak(process) < 40 * 1024
    assert package(dnf).stat().st_size > 300 * MEGABYTE
