"""DNF 4 with the plugin: what it requests from the registry, which instance serves it, and keys."""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pexpect
import pytest

from conftest import CACHE, NO_BUS, PRIVATE, REPOS
from harness.commands import processes, run, wait_until
from harness.dnf4 import CACHE as CACHE_4
from harness.dnf4 import PROGRAM
from harness.keys import Key, remove_keys
from harness.relay import Relay
from harness.repository import build
from harness.service import SERVE, stop_services

MEGABYTE = 1 << 20
SKOPEO = ("skopeo", "experimental-image-proxy")

# A program that uses DNF's API, several times in one process.
QUERY = """
import dnf

for _ in range(3):
    with dnf.Base() as base:
        base.conf.substitutions["releasever"] = "1"
        base.init_plugins(disabled_glob=["local", "system_upgrade"])
        base.pre_configure_plugins()
        base.read_all_repos()
        base.configure_plugins()
        base.fill_sack(load_system_repo=False)
        print(*base.sack.query())
        base.unload_plugins()
"""


# Runs DNF as if it had an old libcurl.
OLD_LIBCURL = """
import ctypes, sys
from dnf.cli import main
class Library:
    curl_version = type("Function", (), {"__call__": lambda self: b"libcurl/7.76.1 OpenSSL/3.0"})()
ctypes.CDLL = lambda name: Library
main.user_main(sys.argv[1:], exit_code=True)
"""


@pytest.fixture
def pushed(dnf, front):
    """A repository with two packages behind the front, which counts requests."""
    repository = dnf.repository().add(build("one")).add(build("two")).createrepo()
    repository.push(dnf.reference(front))
    dnf.add("tools", f"oci://{dnf.reference(front)}")
    stop_services()
    front.clear()
    return repository


@pytest.fixture(params=["system", "private"])
def backend(dnf4, request):
    """Which instance serves."""
    dnf4.backend(request.param)
    yield request.param
    wait_until(lambda: not processes(*PRIVATE), "no private instance is left")


def counted(front):
    """How many manifests and blobs were requested since the last time."""
    numbers = front.count("GET", "manifest"), front.count("GET", "blob")
    front.clear()
    return numbers


def test_requests(dnf4, front, pushed, backend, installed, tmp_path):
    dnf4("makecache").has("Metadata cache created")
    assert counted(front) == (1, 1)
    dnf4("repoquery").has("one-0:1-1.noarch")
    dnf4("repolist")
    dnf4("list", "--installed", "no-such", code=1)
    dnf4("-C", "repoquery").has("one-0:1-1.noarch")
    dnf4("--assumeno", "install", "one", code=1)
    assert counted(front) == (0, 0)
    dnf4("install", "one", answer="n\n", code=1).has("Operation aborted")
    # The service gets ready while the user reads, if there is time for it; that on the bus still is.
    manifests, blobs = counted(front)
    assert manifests <= int(backend == "private") and blobs == 0
    installed += ["one", "two"]
    dnf4("-y", "install", "one", "two").has("Complete!")
    assert front.count("GET", "blob") == 2
    front.clear()
    dnf4("-y", "remove", "one", "two").has("Complete!")
    assert counted(front) == (0, 0)
    dnf4("--refresh", "repoquery").has("one-0:1-1.noarch")
    assert counted(front)[1] == 0, "the metadata has not changed"
    dnf4("download", "one", f"--destdir={tmp_path}")
    dnf4("reposync", "--repoid=tools", f"--download-path={tmp_path}")
    assert front.count("GET", "blob") == 3
    assert sorted(path.name for path in tmp_path.rglob("*.rpm") if "repository" not in path.parts) == [
        "one-1-1.noarch.rpm", "one-1-1.noarch.rpm", "two-1-1.noarch.rpm"]


@pytest.mark.parametrize("command", [("-y", "install", "--downloadonly", "one"), ("download", "one")],
                         ids=["install", "download"])
def test_the_tag_moves(dnf4, front, pushed, backend, command, tmp_path):
    """DNF gets the package that its metadata describes, whether it is announced or not."""
    dnf4("makecache")
    dnf4.repository("later").add(build("one", "2")).createrepo().push(dnf4.reference(front))
    stop_services()
    dnf4(*command, cwd=tmp_path)
    assert [*CACHE_4.glob("tools-*/packages/one-1-1.noarch.rpm"), *tmp_path.glob("one-1-1.noarch.rpm")]
    dnf4("--refresh", "repoquery").has("one-0:2-1.noarch")


def test_with_a_directory_layer(dnf4, registry, backend):
    dnf4.repository().add(build("one"), "Packages").createrepo().push(dnf4.reference(registry))
    dnf4.add("tools", f"oci://{dnf4.reference(registry)}")
    dnf4("-y", "install", "--downloadonly", "one").has("Complete!")


def test_several_baseurls_and_repositories(dnf4, registry, web, pushed, front):
    shutil.copytree(pushed.directory, web.directory / "plain")
    dnf4.add("web", f"{web.url}/plain")
    dnf4.add("both", f"oci://{front.address}/acme/none:1, {web.url}/plain")
    dnf4("--repo=both", "--repo=web", "--repo=tools", "repoquery").has("one-0:1-1.noarch")
    dnf4("--repo=both", "-y", "install", "--downloadonly", "one").has("Complete!")


def test_repositories_that_are_not_ours(dnf4, web, pushed):
    """Disabled ones, and those with a list of mirrors, are left alone; without any, nothing is started."""
    shutil.copytree(pushed.directory, web.directory / "other")
    (web.directory / "mirrors").write_text(f"{web.url}/other\n")
    dnf4.add("tools", "oci://localhost:1/acme/rpms:1", enabled=0)
    dnf4.add("mirrors", "oci://localhost:1/acme/rpms:1", mirrorlist=f"{web.url}/mirrors")
    dnf4("repoquery").has("one-0:1-1.noarch")
    assert not processes(*SERVE)


def test_the_repo_file_stays_as_it_is(dnf4, pushed):
    file = REPOS / "tools.repo"
    before = file.read_text()
    dnf4("config-manager", "--save", "--setopt=tools.priority=7")
    assert set(file.read_text().split()) == {*before.split(), "priority=7"}
    dnf4("repoquery").has("one-0:1-1.noarch")


def test_dnf5_and_dnf_4_side_by_side(dnf, dnf4, front, pushed, installed):
    dnf("makecache")
    dnf4("makecache")
    installed += ["one", "two"]
    dnf("-y", "install", "one").has("Complete!")
    dnf4("-y", "install", "two").has("Complete!")
    assert len(processes(*SERVE)) == 1, "one service serves both"
    names = [next(cache.glob("tools-*")).name for cache in (CACHE, CACHE_4)]
    assert names[0] == names[1]


def test_the_api(pushed, backend, dnf4):
    run("python3", "-c", QUERY).has("\n".join(["one-1-1.noarch two-1-1.noarch"] * 3))


@pytest.fixture
def chroot_4(chroot):
    CACHE_4.mkdir(exist_ok=True)
    run("mount", "-t", "tmpfs", "tmpfs", f"{chroot}{CACHE_4}")
    return chroot


def test_the_bus_of_a_host_is_not_used_in_a_chroot(dnf4, pushed, chroot_4):
    run("chroot", chroot_4, *PROGRAM, "repoquery").has("one-0:1-1.noarch")
    wait_until(lambda: not processes(*PRIVATE), "no private instance is left")
    assert not processes("skopeo", "experimental-image-proxy"), "the service on the bus has fetched nothing"


def test_without_a_bus(dnf4, pushed):
    dnf4("-y", "install", "--downloadonly", "one", env=NO_BUS).has("Complete!")
    assert not processes(*SKOPEO)


def test_another_installroot(dnf4, pushed, tmp_path):
    run(*PROGRAM, "--installroot", tmp_path / "root", f"--setopt=reposdir={REPOS}", "repoquery").has("one-0:1-1")
    assert list((tmp_path / "root/var/cache/dnf").glob("tools-*/repodata/repomd.xml"))


@pytest.fixture
def relay(registry, front):
    """A slow relay in front of a registry with a large package, whose metadata is cached."""
    relay = Relay(0, front.port)
    relay.address = f"localhost:{relay.server.getsockname()[1]}"
    conf = Path("/etc/containers/registries.conf.d/relay.conf")
    conf.write_text(f'[[registry]]\nlocation = "{relay.address}"\ninsecure = true\n')
    yield relay
    conf.unlink()


def test_an_interrupted_download_leaves_nothing_running(dnf4, registry, relay, backend):
    dnf4.repository().add(build("large", size=24 * MEGABYTE)).createrepo().push(dnf4.reference(registry))
    dnf4.add("tools", f"oci://{dnf4.reference(relay)}")
    dnf4("makecache")
    relay.rate = 4 * MEGABYTE
    # In its own process group, which gets what a terminal sends for Ctrl-C.
    running = subprocess.Popen([*PROGRAM, "-y", "install", "--downloadonly", "large"], stdin=subprocess.DEVNULL,
                               text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    packages = "tools-*/packages/*"
    wait_until(lambda: any(file.stat().st_size > MEGABYTE for file in CACHE_4.glob(packages)), "it downloads")
    os.killpg(running.pid, signal.SIGINT)
    output, _ = running.communicate(timeout=60)
    assert running.returncode != 0
    assert "dnf5-oci" not in output, output
    wait_until(lambda: not processes(*PRIVATE), "no private instance is left")
    wait_until(relay.is_quiet, "the registry is left alone")
    # The next download goes on where this one ended.
    relay.rate = None
    dnf4("-y", "install", "--downloadonly", "large").has("Complete!")


@pytest.fixture(scope="module")
def owner(tmp_path_factory):
    """The owner of a key."""
    Path("/tmp/keys-4").mkdir()
    return Key("/tmp/keys-4", "owner")


@pytest.fixture
def signed(dnf4, front, owner, tmp_path):
    """The reference of a repository with a signed package, signed metadata and the key."""
    repository = dnf4.repository().add(owner.sign_package(build("good"), tmp_path / "good")).createrepo()
    owner.sign_metadata(repository)
    shutil.copy(owner.public, repository.directory / "KEY.asc")
    repository.push(dnf4.reference(front))
    front.clear()
    yield f"oci://{dnf4.reference(front)}"
    remove_keys()


def test_a_key_for_packages(dnf4, front, signed, backend, installed):
    dnf4.add("tools", signed, gpgcheck=1, gpgkey=f"{signed}/KEY.asc")
    dnf4("makecache")
    dnf4("repoquery")
    assert counted(front)[1] == 1, "the metadata alone"
    installed.append("good")
    result = dnf4("-y", "install", "good").has("Importing GPG key").has("Complete!").has_not("unencrypted")
    result.has("From       : /var/cache/dnf/tools-")
    assert counted(front)[1] == 2, "the package and the key"
    dnf4("-y", "reinstall", "good").has_not("Importing GPG key").has("Complete!")


def test_a_key_for_metadata(dnf4, front, signed, backend):
    dnf4.add("tools", signed, repo_gpgcheck=1, gpgkey=f"{signed}/KEY.asc")
    dnf4("-y", "makecache").has("Importing GPG key").has_not("unencrypted")
    front.clear()
    dnf4("repoquery").has("good-0:1-1.noarch").has_not("Importing GPG key")
    dnf4("-C", "repoquery").has("good-0:1-1.noarch")
    assert counted(front) == (0, 0)


def test_a_key_that_is_missing(dnf4, signed, backend):
    line = f"repository tools {signed}: "
    dnf4.add("tools", signed, gpgcheck=1, gpgkey=f"{signed}/none.asc")
    dnf4("makecache").has_not(line)
    result = dnf4("-y", "install", "good", code=1).has(line).has('"none.asc"')
    assert result.output.count(line) == 1, result
    run("rpm", "-q", "good", code=1)


def test_an_old_libcurl_is_served_on_a_port(dnf4, registry, front, pushed, backend):
    """Only with a user name that is a secret, and not beside sessions with others."""
    dnf4.dnf("repoquery")
    running = pexpect.spawn("python3", ["-c", OLD_LIBCURL, *PROGRAM[1:], "install", "--downloadonly", "one"],
                            encoding="utf-8", timeout=60)
    running.expect(r"\[y/N\]: ")
    [port] = re.findall(r"127\.0\.0\.1:(\d+) .*dnf5-oci", run("ss", "-Hltnp").output)
    url = f"http://dnf5-oci.alt/{dnf4.reference(front)}/repodata/repomd.xml"
    for user in ("", "1.0:-@", "2.0:-@"):
        run("curl", "--silent", "--proxy", f"socks5h://{user}127.0.0.1:{port}", url, code=97)
    running.sendline("y")
    running.expect("Complete!")
    running.expect(pexpect.EOF)
    assert list(CACHE_4.glob("tools-*/packages/one-1-1.noarch.rpm"))


# libdbus would wait forever for one and 25 s for the other. These are the last tests, because the bus goes on waiting
# for the service.
@pytest.mark.parametrize("silent", ["silent_bus", "silent_service"])
def test_a_silent_bus_is_soon_given_up(dnf4, pushed, silent, request):
    environment = request.getfixturevalue(silent)
    dnf4("repoquery", env=environment, timeout=15).has("one-0:1-1.noarch")
