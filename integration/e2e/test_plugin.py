"""What the plugin itself decides: which service it uses, and what it asks for and shows."""

import sys
from pathlib import Path

import pytest

from conftest import CACHE, NO_BUS, PLUGIN_CONF, PRIVATE
from harness.commands import processes, run, until
from harness.repository import build

pytestmark = pytest.mark.usefixtures("eager")

# A program of its own on libdnf5, without download callbacks.
QUERY = """
import libdnf5

base = libdnf5.base.Base()
base.load_config()
base.setup()
sack = base.get_repo_sack()
sack.create_repos_from_system_configuration()
base.notify_repos_configured()
sack.load_repos(libdnf5.repo.Repo.Type_AVAILABLE)
for package in libdnf5.rpm.PackageQuery(base):
    print(package.get_nevra())
"""


@pytest.fixture
def pushed(dnf, registry):
    repository = dnf.repository().add(build("one")).add(build("two")).describe()
    repository.push(dnf.reference(registry))
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    return repository


def test_the_bus_of_a_host_is_not_used_in_a_chroot(pushed, chroot):
    run("chroot", chroot, "dnf5", "repoquery").has("one-0:1-1.noarch")
    assert list(Path(f"{chroot}{CACHE}").glob("tools-*/repodata/repomd.xml"))
    assert not list(CACHE.glob("tools-*")), "nothing was written where the host's service writes"


def test_another_installroot_has_a_private_instance(dnf, pushed, tmp_path):
    root = tmp_path / "root"
    dnf("--installroot", root, "--use-host-config", "repoquery").has("one-0:1-1.noarch")
    assert list(root.glob(f"{str(CACHE)[1:]}/tools-*/repodata/repomd.xml"))
    assert not processes(*PRIVATE)


def test_the_program_of_the_private_instance_can_be_named(dnf, pushed):
    conf = PLUGIN_CONF.read_text()
    PLUGIN_CONF.write_text(conf.replace("#service = /usr/bin/dnf5-oci", "service = /opt/no-such"))
    result = dnf("repoquery", env=NO_BUS, code=1)
    result.has("dnf5-oci cannot be reached: /opt/no-such: No such file or directory")
    assert result.output.count("cannot be reached") == 1, result
    dnf("list", "--installed", env=NO_BUS)
    PLUGIN_CONF.write_text(conf.replace("#service", "service"))
    dnf("repoquery", env=NO_BUS).has("one-0:1-1.noarch")


def test_a_transaction_that_dnf5_refuses_fetches_nothing(dnf, pushed, registry):
    dnf("repoquery")
    registry.clear()
    dnf("-y", "install", "one", "no-such-package", code=1).has("No match for argument")
    assert registry.requests() == []


def test_a_failure_ends_the_bars_of_the_others(dnf, pushed, registry):
    dnf("repoquery")
    digest = run("sha256sum", pushed.directory / "one-1-1.noarch.rpm").output.split()[0]
    blobs = registry.directory / "data/docker/registry/v2/blobs/sha256"
    blob = blobs / digest[:2] / digest / "data"
    content = blob.read_bytes()
    blob.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    try:
        result = dnf("-y", "install", "--downloadonly", "one", "two", code=1)
    finally:
        blob.write_bytes(content)
    lines = result.output.splitlines()
    line = next(number for number, text in enumerate(lines) if text.startswith("repository tools "))
    assert lines[line - 1] == ">>> given up", result
    assert result.output.count("checksum mismatch: expected") == 1, result


def test_the_line_says_that_the_cache_is_used(dnf, pushed):
    dnf("repoquery")
    # Its skopeo is a new one, which reads registries.conf anew.
    dnf.backend("private")
    conf = Path("/etc/containers/registries.conf.d/blocked.conf")
    conf.write_text('[[registry]]\nlocation = "localhost:5000/acme"\nblocked = true\n')
    try:
        result = dnf("--refresh", "repoquery").has("one-0:1-1.noarch")
    finally:
        conf.unlink()
    line = next(line for line in result.output.splitlines() if "blocked" in line)
    assert line.startswith(">>> repository tools oci://localhost:5000/acme/"), result
    assert line.endswith("; the cached metadata are used"), result


def test_programs_without_download_callbacks(dnf, pushed):
    run(sys.executable, "-c", QUERY).has("one-1-1.noarch").has("two-1-1.noarch")
    until(lambda: not processes(*PRIVATE), "nothing stays behind")
