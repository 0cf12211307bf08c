"""The Debian packages, installed with apt in a fresh root."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import steps
from conftest import PACKAGES
from harness.commands import run
from harness.service import UNIT

SERVICE, PLUGIN = "dnf5-oci", "libdnf5-plugin-oci"
DNF4, ZYPPER = "python3-dnf-plugin-oci", "libzypp-plugin-oci"
ALL = (SERVICE, PLUGIN, DNF4, ZYPPER)
DNF4_CONF = Path("/etc/dnf/plugins/oci.conf")
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
    return apt(*options, "install", *(deb(name, directory) for name in ALL))


def purge(*names):
    return apt("purge", *(names or ALL))


@pytest.fixture(autouse=True, scope="module")
def everything_is_unpacked():
    """The root is made without man pages and documentation."""
    for file in Path("/etc/dpkg/dpkg.cfg.d").iterdir():
        lines = file.read_text().splitlines(keepends=True)
        file.write_text("".join(line for line in lines if not line.startswith("path-exclude=")))


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
    """The same packages with a lower version, and another unit."""
    directory = tmp_path_factory.mktemp("old")
    for name in ALL:
        unpacked = directory / name
        run("dpkg-deb", "--raw-extract", deb(name), unpacked)
        control = unpacked / "DEBIAN/control"
        version = field(deb(name), "Version")
        control.write_text(control.read_text().replace(version, OLD))
        for unit in unpacked.glob(f"usr/lib/systemd/system/{UNIT}"):
            unit.write_text(unit.read_text() + "# An old one.\n")
        run("dpkg-deb", "--build", "-Zgzip", "-z1", unpacked, directory / f"{name}_{OLD}.deb")
        shutil.rmtree(unpacked)
    return directory


def test_lintian_has_nothing_to_say():
    """The build has it look at the source."""
    [changes] = PACKAGES.glob("*.changes")
    assert run("lintian", "--allow-root", "--pedantic", "--display-info", changes).output == ""


def test_it_is_configured_and_quiet(installed):
    steps.is_neither_enabled_nor_started()
    steps.units_are_valid()


def test_dnf5_installs_from_a_registry(installed, registry, tmp_path, name):
    steps.installs_from_a_registry(tmp_path / "repository", registry, name)


def test_dnf4_installs_from_a_registry(installed, registry, tmp_path, name):
    steps.dnf4_installs_from_a_registry(tmp_path / "repository", registry, name)


def test_zypper_installs_from_a_registry(installed, registry, tmp_path, name):
    steps.zypper_installs_from_a_registry(tmp_path / "repository", registry, name)


def test_an_upgrade_leaves_a_waiting_dnf5_alone(old, registry, tmp_path, name):
    install(old)
    assert run("dpkg-query", "--show", *sorted(ALL)).output == "".join(f"{name}\t{OLD}\n" for name in sorted(ALL))
    steps.upgrades_below_a_waiting_dnf5(tmp_path / "repository", registry, name, install)
    purge()


@pytest.fixture
def before():
    """All files without the packages."""
    return steps.files()


def test_removal_stops_the_service_and_leaves_what_the_administrator_has_made(before, registry, tmp_path, name):
    install()
    steps.installs_from_a_registry(tmp_path / "repository", registry, name)
    steps.forget(name)
    auth = Path("/etc/dnf5-oci/auth.json")
    auth.write_text("{}")
    edited = steps.PLUGIN_CONF.read_text() + "# edited\n"
    steps.PLUGIN_CONF.write_text(edited)
    apt("remove", *ALL)
    steps.has_stopped()
    assert steps.changed(before, steps.files()) == sorted(map(str, [auth.parent, auth, steps.PLUGIN_CONF, DNF4_CONF]))
    assert steps.PLUGIN_CONF.read_text() == edited
    # Nothing is known of the fourth any more.
    purge(SERVICE, PLUGIN, DNF4)
    assert steps.changed(before, steps.files()) == sorted(map(str, [auth.parent, auth]))
    shutil.rmtree(auth.parent)


def test_purge_leaves_nothing(before, registry, tmp_path, name):
    install()
    steps.installs_from_a_registry(tmp_path / "repository", registry, name)
    steps.enable_the_socket()
    steps.socket_serves(f"{registry.address}/acme/{name}:stable")
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
    """The files of a package, and directories of its own, with their modes and owners; documentation is left out."""
    listed = run("dpkg-deb", "--contents", package).output
    lines = re.findall(r"^(\S+) (\S+) +\S+ \S+ \S+ \.(\S+)(?: -> .*)?$", listed, re.MULTILINE)
    return {path: f"{mode} {owner}" for mode, owner, path in lines
            if not path.startswith(("/usr/share/doc/", "/usr/share/lintian/"))
            and (not path.endswith("/") or path == "/etc/dnf5-oci/")}


def manuals(pages):
    """A command has its pages, one for each subcommand, in section 1."""
    return sorted(page for page in pages if page.startswith("/usr/share/man/"))


def test_files_are_where_they_belong():
    everyone = "-rw-r--r-- root/root"
    service, plugin = contents(deb(SERVICE)), contents(deb(PLUGIN))
    pages = manuals(service)
    assert {f"/usr/share/man/{page}.gz" for page in (
        "man1/dnf5-oci-publish.1", "man5/dnf5-oci.toml.5", "man7/dnf5-oci-layout.7", "man8/dnf5-oci.8",
    )} <= set(pages)
    assert {service[page] for page in pages} == {everyone}
    assert {path: service[path] for path in service.keys() - set(pages)} == {
        "/etc/dnf5-oci/": "drwxr-xr-x root/root",
        "/usr/bin/dnf5-oci": "-rwxr-xr-x root/root",
        "/usr/lib/systemd/system/dnf5-oci.service": everyone,
        "/usr/lib/systemd/system/dnf5-oci.socket": everyone,
        "/usr/lib/systemd/user/dnf5-oci.service": everyone,
        "/usr/lib/systemd/user/dnf5-oci.socket": everyone,
        "/usr/share/bash-completion/completions/dnf5-oci": everyone,
        "/usr/share/dbus-1/interfaces/io.github.dnf5_oci.Backend1.xml": everyone,
        "/usr/share/dbus-1/system-services/io.github.dnf5_oci.service": everyone,
        "/usr/share/dbus-1/system.d/io.github.dnf5_oci.conf": everyone,
        "/usr/share/fish/vendor_completions.d/dnf5-oci.fish": everyone,
        "/usr/share/zsh/vendor-completions/_dnf5-oci": everyone,
    }
    assert plugin == {
        "/etc/dnf/libdnf5-plugins/oci.conf": everyone,
        f"/usr/lib/{MULTIARCH}/libdnf5/plugins/oci.so": everyone,
        "/usr/share/man/man8/libdnf5-oci.8.gz": everyone,
    }
    assert contents(deb(DNF4)) == {
        str(DNF4_CONF): everyone, "/usr/lib/python3/dist-packages/dnf-plugins/oci.py": everyone}
    assert contents(deb(ZYPPER)) == {"/usr/lib/zypp/plugins/urlresolver/oci": "-rwxr-xr-x root/root"}


def test_it_has_its_documentation(installed):
    for page in ("dnf5-oci", "dnf5-oci-publish", "dnf5-oci.toml", "libdnf5-oci", "dnf5-oci-layout"):
        assert Path(run("man", "--path", page).output.strip()).is_file()
    directory = Path("/usr/share/doc/dnf5-oci")
    assert {"README.md", "docs", "copyright", "changelog.gz"} <= {entry.name for entry in directory.iterdir()}
    assert (directory / "docs/troubleshooting.md").is_file()


def test_the_licence_of_each_crate_is_told():
    """Of all crates that are linked into the program, with the text of each licence."""
    unpacked = Path("/tmp/copyright")
    run("dpkg-deb", "--extract", deb(SERVICE), unpacked)
    text = (unpacked / "usr/share/doc/dnf5-oci/copyright").read_text()
    crates = set(re.findall(r'^name = "(.*)"$', Path("/src/Cargo.lock").read_text(), re.MULTILINE)) - {"dnf5-oci"}
    named = {re.sub(r"-\d+\..*", "", name) for name in re.findall(r"^Files: vendor/([^/]+)/\*$", text, re.MULTILINE)}
    assert crates <= named
    used = re.findall(r"^Files: .*\nCopyright: .*\n(?: .*\n)*License: (.*)$", text, re.MULTILINE)
    texts = set(re.findall(r"^License: (.*)\n ", text, re.MULTILINE))
    assert {name for line in used for name in re.split(r",? (?:and|or) ", line)} <= texts


def test_the_configuration_of_a_plugin_is_a_conffile():
    for name, conf in ((PLUGIN, steps.PLUGIN_CONF), (DNF4, DNF4_CONF)):
        conffiles = subprocess.run(["dpkg-deb", "--info", deb(name), "conffiles"], capture_output=True, text=True)
        assert conffiles.stdout.split() == [str(conf)]


def test_what_it_depends_on():
    version = field(deb(SERVICE), "Version")
    service, plugin = (field(deb(name), "Depends") for name in (SERVICE, PLUGIN))
    assert "skopeo (>= 1.18)" in service
    assert f"dnf5-oci (= {version})" in plugin
    assert "libdnf5-2 (<< 5.5~)" in plugin
    assert re.search(r"libdnf5-2 \(>= 5\.", plugin)
    for name in (DNF4, ZYPPER):
        assert f"dnf5-oci (>= {version})" in field(deb(name), "Depends")
        assert field(deb(name), "Architecture") == "all"


def test_debug_symbols_are_in_packages_of_their_own():
    symbols = sorted(PACKAGES.glob("*-dbgsym_*.deb"))
    assert [field(package, "Package") for package in symbols] == [f"{SERVICE}-dbgsym", f"{PLUGIN}-dbgsym"]
    for package in symbols:
        assert ".debug" in run("dpkg-deb", "--contents", package).output
    assert UNIT not in run("dpkg-deb", "--contents", symbols[0]).output
