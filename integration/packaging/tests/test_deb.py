"""The Debian packages, installed with apt in a fresh root."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import steps
from harness.commands import run
from harness.registry import Registry
from harness.service import UNIT

PACKAGES = Path("/packages")
SERVICE, PLUGIN = "dnf5-oci", "libdnf5-plugin-oci"
OLD = "0.0.1-1"
MULTIARCH = run("dpkg-architecture", "-qDEB_HOST_MULTIARCH").output.strip()


def deb(name, directory=PACKAGES):
    [found] = directory.glob(f"{name}_*.deb")
    return found


def field(package, name):
    return run("dpkg-deb", "--field", package, name).output.strip()


def apt(*arguments):
    """Without a terminal, and without a network: the root has none."""
    return run("apt-get", "--yes", *arguments, env={"DEBIAN_FRONTEND": "noninteractive", "PATH": "/usr/sbin:/usr/bin"})


def install(directory=PACKAGES, *options):
    return apt(*options, "install", deb(SERVICE, directory), deb(PLUGIN, directory))


def purge():
    return apt("purge", SERVICE, PLUGIN)


@pytest.fixture(autouse=True, scope="module")
def everything_is_unpacked():
    """The root is made without man pages and documentation."""
    for file in Path("/etc/dpkg/dpkg.cfg.d").iterdir():
        lines = file.read_text().splitlines(keepends=True)
        file.write_text("".join(line for line in lines if not line.startswith("path-exclude=")))


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    running = Registry(tmp_path_factory.mktemp("registry"), 5000).start()
    steps.insecure(running.address)
    yield running
    running.stop()


@pytest.fixture
def name(request):
    """A repository and a package for this test."""
    name = request.node.name.removeprefix("test_").replace("_", "-")
    yield name
    steps.forget(name)


@pytest.fixture
def installed():
    install()
    yield
    purge()


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """The same packages with a lower version."""
    directory = tmp_path_factory.mktemp("old")
    for name in (SERVICE, PLUGIN):
        unpacked = directory / name
        run("dpkg-deb", "--raw-extract", deb(name), unpacked)
        control = unpacked / "DEBIAN/control"
        version = field(deb(name), "Version")
        control.write_text(control.read_text().replace(version, OLD))
        run("dpkg-deb", "--build", unpacked, directory / f"{name}_{OLD}.deb")
        shutil.rmtree(unpacked)
    return directory


def test_lintian_has_nothing_to_say():
    [changes] = PACKAGES.glob("*.changes")
    assert run("lintian", "--allow-root", "--fail-on", "warning,error", changes).output == ""


def test_it_is_configured_and_quiet(installed):
    steps.is_neither_enabled_nor_started()
    steps.unit_is_valid()


def test_dnf5_installs_from_a_registry(installed, registry, tmp_path, name):
    steps.installs_from_a_registry(tmp_path / "repository", registry, name)


def test_an_upgrade_leaves_a_waiting_dnf5_alone(old, registry, tmp_path, name):
    install(old)
    assert run("dpkg-query", "--show", SERVICE, PLUGIN).output == f"{SERVICE}\t{OLD}\n{PLUGIN}\t{OLD}\n"
    steps.upgrades_below_a_waiting_dnf5(tmp_path / "repository", registry, name, install)
    purge()


def test_removal_stops_the_service_and_leaves_what_the_administrator_has_made(registry, tmp_path, name):
    before = steps.files()
    install()
    steps.installs_from_a_registry(tmp_path / "repository", registry, name)
    steps.forget(name)
    auth = Path("/etc/dnf5-oci/auth.json")
    auth.write_text("{}")
    edited = steps.PLUGIN_CONF.read_text() + "# edited\n"
    steps.PLUGIN_CONF.write_text(edited)
    apt("remove", SERVICE, PLUGIN)
    steps.has_stopped()
    assert steps.changed(before, steps.files()) == sorted(map(str, [auth.parent, auth, steps.PLUGIN_CONF]))
    assert steps.PLUGIN_CONF.read_text() == edited
    purge()
    assert steps.changed(before, steps.files()) == sorted(map(str, [auth.parent, auth]))
    shutil.rmtree(auth.parent)


def test_purge_leaves_nothing(registry, tmp_path, name):
    before = steps.files()
    install()
    steps.installs_from_a_registry(tmp_path / "repository", registry, name)
    steps.forget(name)
    purge()
    steps.has_stopped()
    assert steps.changed(before, steps.files()) == []


def test_a_reinstall_keeps_an_edited_configuration(installed):
    edited = steps.PLUGIN_CONF.read_text().replace("fetch = on-demand", "fetch = eager")
    steps.PLUGIN_CONF.write_text(edited)
    install(PACKAGES, "--reinstall")
    assert steps.PLUGIN_CONF.read_text() == edited
    assert not list(steps.PLUGIN_CONF.parent.glob("oci.conf.*"))


def contents(package):
    """The paths of a package with their modes and owners; directories of others are left out."""
    listed = run("dpkg-deb", "--contents", package).output
    lines = re.findall(r"^(\S+) (\S+) +\S+ \S+ \S+ \.(\S+)(?: -> .*)?$", listed, re.MULTILINE)
    return {path: (mode, owner) for mode, owner, path in lines if not mode.startswith("d") or "oci" in path}


def test_files_are_where_they_belong():
    everyone = ("-rw-r--r--", "root/root")
    found = contents(deb(SERVICE))
    documentation = {path for path in found if path.startswith(("/usr/share/doc/", "/usr/share/man/"))}
    assert {path: found[path] for path in found.keys() - documentation} == {
        "/etc/dnf5-oci/": ("drwxr-xr-x", "root/root"),
        "/usr/bin/dnf5-oci": ("-rwxr-xr-x", "root/root"),
        "/usr/lib/systemd/system/dnf5-oci.service": everyone,
        "/usr/share/dbus-1/interfaces/io.github.dnf5_oci.Backend1.xml": everyone,
        "/usr/share/dbus-1/system-services/io.github.dnf5_oci.service": everyone,
        "/usr/share/dbus-1/system.d/io.github.dnf5_oci.conf": everyone,
    }
    found = contents(deb(PLUGIN))
    documentation = {path for path in found if path.startswith(("/usr/share/doc/", "/usr/share/man/"))}
    assert {path: found[path] for path in found.keys() - documentation} == {
        "/etc/dnf/libdnf5-plugins/oci.conf": everyone,
        f"/usr/lib/{MULTIARCH}/libdnf5/plugins/oci.so": everyone,
    }


def test_the_configuration_of_the_plugin_is_a_conffile():
    conffiles = subprocess.run(["dpkg-deb", "--info", deb(PLUGIN), "conffiles"], capture_output=True, text=True)
    assert conffiles.stdout.split() == [str(steps.PLUGIN_CONF)]


def test_what_it_depends_on():
    version = field(deb(SERVICE), "Version")
    service, plugin = (field(deb(name), "Depends") for name in (SERVICE, PLUGIN))
    assert "skopeo (>= 1.18)" in service
    assert f"dnf5-oci (= {version})" in plugin
    assert "libdnf5-2 (<< 5.5~)" in plugin
    assert re.search(r"libdnf5-2 \(>= 5\.", plugin)


def test_debug_symbols_are_in_packages_of_their_own():
    symbols = sorted(PACKAGES.glob("*-dbgsym_*.deb"))
    assert [field(package, "Package") for package in symbols] == [f"{SERVICE}-dbgsym", f"{PLUGIN}-dbgsym"]
    for package in symbols:
        assert ".debug" in run("dpkg-deb", "--contents", package).output
    assert UNIT not in run("dpkg-deb", "--contents", symbols[0]).output
