"""The RPMs, installed with dnf5. Debian's root stands in for Fedora: see provide-root."""

import os
import re
import shutil
from pathlib import Path

import pytest

import steps
from conftest import PACKAGES
from harness.commands import run

PACKAGING = Path("/src/integration/packaging")
SERVICE, PLUGIN = "dnf5-oci", "libdnf5-plugin-oci"
DNF4, ZYPPER = "python3-dnf-plugin-oci", "libzypp-plugin-oci"
BOTH = (SERVICE, PLUGIN)
ALL = (*BOTH, DNF4, ZYPPER)
AUTH = Path("/etc/dnf5-oci/auth.json")
OLD_RELEASE = "0.1"


def rpm_of(name, directory=PACKAGES):
    [found] = [path for path in directory.glob(f"{name}-[0-9]*.rpm") if not path.name.endswith(".src.rpm")]
    return found


def query(package, form):
    return run("rpm", "-qp", "--nosignature", "--queryformat", form, package).output


VERSION = query(rpm_of(SERVICE), "%{VERSION}")
RELEASE = query(rpm_of(SERVICE), "%{RELEASE}")


@pytest.fixture(scope="session")
def distribution(tmp_path_factory):
    """A package with what the root has from other packages."""
    directory = tmp_path_factory.mktemp("distribution")
    run(PACKAGING / "provide-root", directory)
    return directory


def build(directory, macro):
    """Builds the packages once more, with another value of a macro."""
    environment = os.environ | {"CARGO_TARGET_DIR": "/packages-build", "PLUGIN": "/build/plugin"}
    run(PACKAGING / "build-rpm", VERSION, PACKAGES, directory, "-bb", "--nocheck", "--define", macro,
        env=environment, timeout=800)


@pytest.fixture(scope="session")
def old(tmp_path_factory, distribution):
    """The same packages with a lower release, in a repository."""
    directory = tmp_path_factory.mktemp("old")
    build(directory, f"autorelease {OLD_RELEASE}")
    return in_repository(directory, distribution)


@pytest.fixture(scope="session")
def built(tmp_path_factory, distribution):
    """The packages in a repository."""
    directory = tmp_path_factory.mktemp("built")
    for name in ALL:
        shutil.copy(rpm_of(name), directory)
    return in_repository(directory, distribution)


def in_repository(directory, distribution):
    for package in distribution.glob("*.rpm"):
        shutil.copy(package, directory)
    run("createrepo_c", "--quiet", directory)
    return directory


def dnf(directory, *arguments, **options):
    """dnf5 with a repository in a directory, and no other."""
    return run("dnf5", "-y", f"--repofrompath=packages,file://{directory}", "--repo=packages", *arguments, **options)


@pytest.fixture(scope="session", autouse=True)
def machine(built):
    """The distribution's package is on this machine."""
    dnf(built, "install", "distribution")


@pytest.fixture
def installed(built):
    dnf(built, "install", *ALL)
    yield
    dnf(built, "remove", *ALL)


@pytest.fixture
def name(request):
    """A repository and a package for this test."""
    name = request.node.name.removeprefix("test_").replace("_", "-")
    yield name
    steps.forget(name)


def is_as_packaged():
    """No file differs from the package's."""
    assert run("rpm", "--verify", *ALL).output == ""


def test_nothing_is_enabled_or_started_by_installing(installed):
    steps.is_neither_enabled_nor_started()
    steps.units_are_valid()
    is_as_packaged()


def test_dnf5_installs_from_a_registry(installed, registry, tmp_path, name):
    steps.installs_from_a_registry(tmp_path / "repository", registry, name)
    is_as_packaged()


def test_dnf4_installs_from_a_registry(installed, registry, tmp_path, name):
    steps.dnf4_installs_from_a_registry(tmp_path / "repository", registry, name)
    # What Python has compiled is part of the package.
    is_as_packaged()


def test_zypper_installs_from_a_registry(installed, registry, tmp_path, name):
    steps.zypper_installs_from_a_registry(tmp_path / "repository", registry, name)
    is_as_packaged()


@pytest.fixture
def root(built, tmp_path):
    """A root that dnf5 has installed the packages in. Below, it is this machine's."""
    target = tmp_path / "root"
    for directory in ("upper", "work", "root"):
        (tmp_path / directory).mkdir()
    run("mount", "-t", "overlay", "overlay", "-o",
        f"lowerdir=/,upperdir={tmp_path}/upper,workdir={tmp_path}/work", target)
    run("mount", "-t", "proc", "proc", target / "proc")
    shutil.rmtree(target / "usr/lib/sysimage", ignore_errors=True)
    shutil.rmtree(target / "var/lib/rpm", ignore_errors=True)
    dnf(built, f"--installroot={target}", "install", PLUGIN)
    yield target
    run("umount", target / "proc")
    run("umount", target)


def test_in_an_installroot_dnf5_needs_no_bus(root, registry, tmp_path, name):
    """There the plugin starts a private instance."""
    assert not steps.PROGRAM.exists()
    run("rpm", "--root", root, "--query", *BOTH, "distribution")
    steps.repository(tmp_path / "repository", registry, name)
    shutil.copy(steps.REPOS / f"{name}.repo", root / "etc/yum.repos.d")
    run("chroot", root, "dnf5", "-y", "install", name)
    assert (root / f"usr/share/{name}/file").read_text() == f"{name} 1\n"
    assert not (root / "run/dnf5-oci").exists() or list((root / "run/dnf5-oci").iterdir()) == []


def test_an_upgrade_lets_a_waiting_dnf5_go_on(old, built, registry, tmp_path, name):
    dnf(old, "install", PLUGIN)
    run("rpm", "--query", *BOTH).has(f"{SERVICE}-{VERSION}-{OLD_RELEASE}.")
    # Another dnf5 would wait for the first.
    steps.upgrades_below_a_waiting_dnf5(tmp_path / "repository", registry, name,
                                        lambda: run("rpm", "--upgrade", *map(rpm_of, BOTH)))
    run("rpm", "--query", *BOTH).has(f"{SERVICE}-{VERSION}-{RELEASE}.")
    assert run("rpm", "--verify", *BOTH).output == ""
    dnf(built, "remove", *BOTH)


def test_removal_leaves_nothing(built, registry, tmp_path, name):
    before = steps.files()
    dnf(built, "install", *ALL)
    steps.installs_from_a_registry(tmp_path / "repository", registry, name)
    steps.enable_the_socket()
    steps.socket_serves(f"{registry.address}/acme/{name}:stable")
    steps.forget(name)
    dnf(built, "remove", *ALL)
    steps.has_stopped()
    assert steps.changed(before, steps.files()) == []


def test_removal_leaves_what_the_administrator_has_changed(built):
    before = steps.files()
    dnf(built, "install", PLUGIN)
    edited = edit(steps.PLUGIN_CONF)
    AUTH.write_text("{}")
    dnf(built, "remove", *BOTH)
    saved = steps.PLUGIN_CONF.with_name("oci.conf.rpmsave")
    assert steps.changed(before, steps.files()) == sorted(map(str, (AUTH.parent, AUTH, saved)))
    assert saved.read_text() == edited
    saved.unlink()
    shutil.rmtree(AUTH.parent)


def edit(conf):
    edited = conf.read_text().replace("fetch = on-demand", "fetch = eager")
    conf.write_text(edited)
    return edited


def test_reinstall_and_upgrade_keep_an_edited_configuration(old, built):
    dnf(old, "install", PLUGIN)
    edited = edit(steps.PLUGIN_CONF)
    dnf(built, "upgrade")
    dnf(built, "reinstall", *BOTH)
    assert steps.PLUGIN_CONF.read_text() == edited
    assert list(steps.PLUGIN_CONF.parent.glob("oci.conf.*")) == []
    assert run("rpm", "--verify", *BOTH, code=1).output.split() == ["S.5....T.", "c", str(steps.PLUGIN_CONF)]
    dnf(built, "remove", *BOTH)
    steps.PLUGIN_CONF.with_name("oci.conf.rpmsave").unlink()


def test_the_plugin_wants_the_service_of_its_own_build(old, built, tmp_path):
    """dnf5 refuses another."""
    shutil.copy(rpm_of(SERVICE, old), tmp_path)
    shutil.copy(rpm_of(PLUGIN, built), tmp_path)
    run("createrepo_c", "--quiet", tmp_path)
    dnf(tmp_path, "install", PLUGIN, code=1).has(f"nothing provides {SERVICE}(x86-64) = {VERSION}-{RELEASE}")


def contents(name, directory=PACKAGES):
    """The files of a package with their modes and owners, without documentation and the links of debug information."""
    listed = query(rpm_of(name, directory), r"[%{FILEMODES:perms} %{FILEUSERNAME}:%{FILEGROUPNAME} %{FILENAMES}\n]")
    files = {path: (mode, owner) for mode, owner, path in (line.split() for line in listed.splitlines())}
    return {path: found for path, found in files.items()
            if not path.startswith(("/usr/share/doc/", "/usr/share/licenses/", "/usr/lib/.build-id"))}


def test_files_are_where_they_belong():
    file, program, directory = (
        (mode, "root:root") for mode in ("-rw-r--r--", "-rwxr-xr-x", "drwxr-xr-x"))
    found = contents(SERVICE)
    pages = {path for path in found if path.startswith("/usr/share/man/")}
    assert {found[page] for page in pages} == {file}
    names = {page.removeprefix("/usr/share/man/") for page in pages}
    assert {"man5/dnf5-oci.toml.5.gz", "man7/dnf5-oci-layout.7.gz", "man8/dnf5-oci.8.gz"} < names
    assert "man1/dnf5-oci-publish.1.gz" in names
    assert {path: found[path] for path in found.keys() - pages} == {
        "/etc/dnf5-oci": directory,
        "/run/dnf5-oci": ("drwx------", "root:root"),
        "/usr/bin/dnf5-oci": program,
        "/usr/lib/systemd/system/dnf5-oci.service": file,
        "/usr/lib/systemd/system/dnf5-oci.socket": file,
        "/usr/lib/systemd/user/dnf5-oci.service": file,
        "/usr/lib/systemd/user/dnf5-oci.socket": file,
        "/usr/share/bash-completion/completions/dnf5-oci": file,
        "/usr/share/dbus-1/interfaces/io.github.dnf5_oci.Backend1.xml": file,
        "/usr/share/dbus-1/system-services/io.github.dnf5_oci.service": file,
        "/usr/share/dbus-1/system.d/io.github.dnf5_oci.conf": file,
        "/usr/share/fish/vendor_completions.d/dnf5-oci.fish": file,
        "/usr/share/zsh/site-functions/_dnf5-oci": file,
        "/var/cache/dnf5-oci": directory,
    }
    plugins = run("pkg-config", "--variable=libdir", "libdnf5").output.strip() + "/libdnf5/plugins"
    assert contents(PLUGIN) == {
        str(steps.PLUGIN_CONF): file,
        f"{plugins}/oci.so": program,
        "/usr/share/man/man8/libdnf5-oci.8.gz": file,
    }
    modules = run("rpm", "--load", PACKAGING / "macros.debian", "--eval", "%python3_sitelib").output.strip()
    dnf4 = contents(DNF4)
    compiled = {path for path in dnf4 if path.startswith(f"{modules}/dnf-plugins/__pycache__/oci.")}
    assert {dnf4[path] for path in compiled} == {file}
    assert {path: dnf4[path] for path in dnf4.keys() - compiled} == {
        "/etc/dnf/plugins/oci.conf": file, f"{modules}/dnf-plugins/oci.py": file}
    assert contents(ZYPPER) == {"/usr/lib/zypp/plugins/urlresolver/oci": program}
    for name, conf in ((PLUGIN, str(steps.PLUGIN_CONF)), (DNF4, "/etc/dnf/plugins/oci.conf")):
        assert run("rpm", "-qp", "--configfiles", rpm_of(name)).output.split() == [conf]
    assert {query(rpm_of(name), "%{ARCH}") for name in (DNF4, ZYPPER)} == {"noarch"}


def test_what_they_require():
    service, plugin = (run("rpm", "-qp", "--requires", rpm_of(name)).output.splitlines() for name in BOTH)
    assert "skopeo >= 1:1.18" in service
    assert {"libdnf5(x86-64) >= 5.2.17", "libdnf5(x86-64) < 5.5", f"{SERVICE}(x86-64) = {VERSION}-{RELEASE}"} \
        <= set(plugin)
    for name, tool in ((DNF4, "python3-dnf"), (ZYPPER, "libzypp")):
        requires = run("rpm", "-qp", "--requires", rpm_of(name)).output.splitlines()
        assert {f"{SERVICE} = {VERSION}-{RELEASE}", tool} <= set(requires)


def test_on_rhel_libdnf5_is_left_out(tmp_path):
    build(tmp_path, "rhel 10")
    names = {query(package, "%{NAME}") for package in tmp_path.glob("*.rpm")}
    assert {name for name in names if "-debug" not in name} == {SERVICE, DNF4, ZYPPER}
    for name in (SERVICE, DNF4, ZYPPER):
        assert contents(name, tmp_path) == contents(name)


def test_bundled_crates_and_their_licences_are_named():
    """https://docs.fedoraproject.org/en-US/packaging-guidelines/Rust/"""
    listed = Path("/tmp/licenses")
    run("sh", "-c", f"mkdir {listed} && rpm2cpio {rpm_of(SERVICE)} | cpio -idm --quiet -D {listed}")
    licenses = listed / "usr/share/licenses" / SERVICE
    crates = (licenses / "cargo-vendor.txt").read_text().splitlines()
    provided = run("rpm", "-qp", "--provides", rpm_of(SERVICE)).output
    for crate in crates:
        name, version = crate.split(" v")
        assert f"bundled(crate({name})) = {version.replace('-', '~')}\n" in provided
    assert len(crates) > 100
    expressions = {line.split(": ")[0] for line in (licenses / "LICENSE.dependencies").read_text().splitlines()}
    spec = (PACKAGING / "dnf5-oci.spec").read_text()
    summary = spec.partition("LICENSE.dependencies lists")[2].partition("\nLicense:")[0]
    assert set(re.findall(r"^# (.*)$", summary, re.MULTILINE)) == expressions


def test_debug_information_is_in_packages_of_its_own():
    for name in BOTH:
        assert ".debug\n" in run("rpm", "-qpl", rpm_of(f"{name}-debuginfo")).output
    sources = run("rpm", "-qpl", rpm_of(f"{SERVICE}-debugsource")).output
    assert "/src/main.rs\n" in sources
    assert "/integration/plugin/oci.cpp\n" in sources


def test_rpmlint_has_nothing_to_say():
    # It reads the spec with rpm.
    Path("/etc/rpm").mkdir(exist_ok=True)
    shutil.copy(PACKAGING / "macros.debian", "/etc/rpm/macros.fedora")
    output = run("rpmlint", "--config", PACKAGING / "rpmlint.toml", "--rpmlintrc", PACKAGING / "dnf5-oci.rpmlintrc",
                 PACKAGING / "dnf5-oci.spec", *sorted(PACKAGES.glob("*.rpm")), timeout=300).has("0 errors, 0 warnings")
    assert "\ndnf5-oci." not in output.output
