"""The plugin's own decisions: which instance it uses, and what it requests and shows."""

import hashlib
import re
import sys
import time
from pathlib import Path

import pytest

from conftest import CACHE, NO_BUS, PLUGIN_CONF, PRIVATE
from harness.commands import processes, run, wait_until
from harness.repository import build

pytestmark = pytest.mark.usefixtures("fetch")

# A program that uses libdnf5's API, without download callbacks.
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

# The version of the loaded plugin.
VERSION = """
import libdnf5

base = libdnf5.base.Base()
base.load_config()
base.setup()
plugin = next(plugin for plugin in base.get_plugins_info() if plugin.get_name() == "oci")
version = plugin.get_version()
print(f"{version.major}.{version.minor}.{version.micro}")
"""


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def pushed(dnf, registry):
    # The first is larger than what is read at a time, so that its progress is shown.
    repository = dnf.repository().add(build("one", size=1 << 20)).add(build("two")).createrepo()
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
    line = "dnf5-oci: connection to the service failed: /opt/no-such: No such file or directory"
    result.has(f'{line}; check "backend" and "service" in oci.conf')
    assert result.output.count(line) == 1, result
    dnf("list", "--installed", env=NO_BUS)
    PLUGIN_CONF.write_text(conf.replace("#service", "service"))
    dnf("repoquery", env=NO_BUS).has("one-0:1-1.noarch")


# dnf5 would wait 90 s for one and 15 s for the other; a private instance starts after a second.
@pytest.mark.parametrize("silent", ["silent_bus", "silent_service"])
def test_a_silent_bus_is_soon_given_up(dnf, registry, pushed, silent, request):
    environment = request.getfixturevalue(silent)
    begin = time.monotonic()
    dnf("repoquery", env=environment).has("one-0:1-1.noarch")
    run("dnf5-oci", "doctor", f"oci://{dnf.reference(registry)}", env=environment).has("A private instance can serve")
    assert time.monotonic() - begin < 12


def test_a_transaction_that_dnf5_refuses_fetches_nothing(dnf, pushed, registry):
    dnf("repoquery")
    registry.clear()
    dnf("-y", "install", "one", "no-such-package", code=1).has("No match for argument")
    assert registry.requests() == []


def test_a_package_that_the_registry_has_changed(dnf, pushed, registry, fetch):
    dnf("repoquery")
    blob = registry.blob("sha256:" + sha256(pushed.directory / "one-1-1.noarch.rpm"))
    content = blob.read_bytes()
    blob.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    try:
        result = dnf("-y", "install", "--downloadonly", "one", "two", code=1)
    finally:
        blob.write_bytes(content)
    [line] = [line for line in result.output.splitlines() if "checksum mismatch: expected" in line]
    assert line.startswith("repository tools oci://"), result
    assert dnf.failed_head_starts() == ([line] if fetch == "eager" else [])
    if fetch == "eager":
        # dnf5 would print its table into the line of an unfinished bar.
        lines = result.output.splitlines()
        assert lines.index(">>> left to dnf5") < lines.index("Transaction Summary:"), result


def test_the_reason_of_a_refusal(dnf, pushed, fetch):
    dnf("repoquery")
    # A private instance starts a new skopeo, which reads registries.conf.
    dnf.backend("private")
    conf = Path("/etc/containers/registries.conf.d/blocked.conf")
    conf.write_text('[[registry]]\nlocation = "localhost:5000/acme"\nblocked = true\n')
    try:
        refused = dnf("--refresh", "repoquery", code=1)
        skipped = dnf("--setopt=skip_if_unavailable=1", "repoquery")
    finally:
        conf.unlink()
    for result in (refused, skipped):
        [line] = [line for line in result.output.splitlines() if "blocked" in line]
        assert re.match("(>>> )?repository tools oci://localhost:5000/acme/", line), result
        result.has_not("Cache-only")


def test_programs_without_download_callbacks(dnf, pushed):
    run(sys.executable, "-c", QUERY).has("one-1-1.noarch").has("two-1-1.noarch")
    wait_until(lambda: not processes(*PRIVATE), "no instance is left")


def test_the_plugin_has_the_version_of_the_service():
    run(sys.executable, "-c", VERSION).has(run("dnf5-oci", "--version").output.split()[1])
