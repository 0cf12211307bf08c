"""skopeo 1.18, which has no GetRawBlob: the same bytes, and the same ends of the same faults."""

import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import CACHE, CONTAINERS, insecure
from harness.commands import run, wait_until
from harness.faults import Cell, Suite
from harness.publishing import FEW, add, command, filled, install, many, numbered, publish, sha256, verify
from harness.registry import Registry
from harness.relay import Relay
from harness.repository import build
from harness.service import stop_services
from harness.signing import policy

INSTALLED = Path("/usr/bin/skopeo")
OLD = Path("/opt/skopeo-1.18/skopeo")
MEGABYTE = 1 << 20

# What can happen to a blob, and to the requests before it.
CELLS = [
    *(Cell("oci", "package", fault, times)
      for fault in ("cut", "stall", "drip", "flip", "length", "reset", "503", "404") for times in (1, None)),
    *(Cell("oci", "directory", fault, 1) for fault in ("cut", "stall", "flip", "length")),
    *(Cell("oci", "metadata", fault, 1) for fault in ("cut", "stall", "flip")),
    *(Cell("oci", request, "429-retry", 1) for request in ("index", "package")),
    *(Cell("oci", "index", fault, None) for fault in ("401", "403", "404", "silence")),
]


@pytest.fixture(autouse=True, scope="module")
def skopeo_1_18():
    aside = INSTALLED.rename("/usr/bin/skopeo-aside")
    shutil.copy(OLD, INSTALLED)
    stop_services()
    yield
    aside.rename(INSTALLED)
    stop_services()


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    suite = Suite(tmp_path_factory.mktemp("faults"))
    return suite.run(CELLS)


def test_the_doctor_shows_the_version(dnf, registry, tools):
    dnf.repository().add(build("one")).createrepo().push(tools)
    run("dnf5-oci", "doctor", f"oci://{tools}").has("version 1.18.").has("can serve")


def test_many_packages_are_installed(dnf, registry, tools, installed):
    names = numbered(60)
    filled(dnf.repository(), many(names)).createrepo().push(tools)
    installed.extend(names)
    dnf("-y", "install", *names).has("Complete!").has_not(">>>")
    assert Path("/usr/share/many/p0042").read_bytes().startswith(b"p0042 1\n")


@pytest.mark.parametrize("layout", ["files", "directory"])
def test_a_large_package(dnf, registry, tools, layout):
    made = dnf.repository().add(build("large", size=24 * MEGABYTE), "Packages").createrepo()
    push = made.push_files if layout == "files" else made.push
    push(tools)
    dnf("-y", "install", "--downloadonly", "large").has("Complete!").has_not(">>>")
    [fetched] = dnf.cache("tools").glob("packages/*")
    assert fetched.read_bytes() == (made.directory / "Packages" / fetched.name).read_bytes()


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_a_fault_ends_as_with_a_newer_one(outcomes, cell):
    outcome = outcomes[cell]
    assert (outcome.code == 0) == cell.succeeds, outcome
    if cell.succeeds:
        assert outcome.fetched == [outcome.package] and outcome.lines == [], outcome
    else:
        assert outcome.fetched == [], outcome
        [line] = outcome.lines
        assert cell.reason in line and "; " in line, outcome
    assert max(outcome.requests.values()) <= 10, outcome.requests


@pytest.fixture
def mirrored(dnf, registry, tmp_path):
    """A repository, and its mirror in another registry, which is asked first."""
    mirror = Registry(tmp_path / "mirror", 5001).start()
    made = dnf.repository().add(build("one", size=MEGABYTE)).createrepo()
    name = dnf.reference(registry).partition("/")[2]
    for host in (registry, mirror):
        made.push(f"{host.address}/{name}")
    conf = CONTAINERS / "registries.conf.d/50-mirror.conf"
    conf.write_text(f"""
[[registry]]
location = "{registry.address}/acme"
insecure = true
[[registry.mirror]]
location = "{mirror.address}/acme"
insecure = true
""")
    stop_services()
    dnf.add("tools", f"oci://{registry.address}/{name}")
    [package] = made.directory.glob("*.rpm")
    yield mirror, mirror.blob(sha256(package))
    conf.unlink()
    mirror.stop()
    stop_services()


@pytest.mark.parametrize("fault", ["wrong", "missing"])
def test_what_a_mirror_lacks_comes_from_the_registry(dnf, mirrored, fault, registry):
    mirror, blob = mirrored
    content = blob.read_bytes()
    if fault == "wrong":
        blob.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        blob.unlink()
    dnf("-y", "install", "--downloadonly", "one").has("Complete!")
    [fetched] = dnf.cache("tools").glob("packages/*")
    assert fetched.read_bytes() == content
    assert mirror.requests("/blobs/") and registry.requests("/blobs/")


def test_a_download_that_is_interrupted_is_resumed(dnf, registry, tools):
    relay = Relay(5010, registry.port, rate=8 * MEGABYTE)
    insecure("localhost:5010")
    made = dnf.repository().add(build("large", size=24 * MEGABYTE)).createrepo()
    made.push(tools)
    dnf.add("tools", f"oci://{tools.replace(str(registry.port), '5010', 1)}")
    running = subprocess.Popen(["dnf5", "-y", "install", "--downloadonly", "large"], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wait_until(lambda: sum(path.stat().st_size for path in dnf_packages()) > 8 * MEGABYTE, "some of it is there")
    running.kill()
    running.communicate()
    # The process with the unfinished body ends: nothing would finish it.
    wait_until(relay.is_quiet, "the registry is left alone")
    relay.rate = None
    relay.cut = 20 * MEGABYTE
    dnf("-y", "install", "--downloadonly", "large").has("Complete!").has_not(">>>")
    assert relay.cut is None
    [fetched] = dnf_packages()
    assert fetched.read_bytes() == (made.directory / fetched.name).read_bytes()


def dnf_packages():
    return list(CACHE.glob("tools-*/packages/*"))


def test_a_moved_tag(dnf, registry, tools):
    dnf.repository("before").add(build("one", content="before")).createrepo().push(tools)
    dnf("makecache")
    dnf.repository("after").add(build("one", version="2")).createrepo().push(tools)
    stop_services()
    dnf("-y", "install", "--downloadonly", "one").has("Complete!").has("0:1-1")
    dnf("--refresh", "repoquery").has("one-0:2-1.noarch")


@pytest.mark.usefixtures("signatures")
def test_the_signature_policy_holds(dnf, registry, tools, acme):
    dnf.repository().add(build("one")).createrepo().push(tools)
    policy({f"{registry.address}/acme": acme.require_gpg()})
    stop_services()
    dnf("repoquery", code=1).has("A signature was required, but no signature exists")
    # skopeo itself obeys the policy.
    policy({})
    acme.sign_with_gpg(tools)
    policy({f"{registry.address}/acme": acme.require_gpg()})
    stop_services()
    dnf("repoquery").has("one-0:1-1.noarch")


def test_what_is_published_lasts(dnf, registry, tools):
    names = numbered(50)
    done = publish(filled(dnf.repository(), many(names)), tools, *FEW)
    assert (done.packages, done.segments) == (50, 3)
    add(tools, build("one"))
    command("promote", tools, f"{tools.rpartition(':')[0]}:prod")
    verify(tools)
    install(dnf, "one", *names[::10])
