"""What the tests of all packages do with an installed dnf5-oci, whichever package manager has installed it."""

import os
import shutil
from pathlib import Path

from harness import zypper
from harness.commands import processes, run, wait_until
from harness.dnf4 import PROGRAM as DNF4
from harness.prompt import Prompt
from harness.repository import Repository, build
from harness.service import NAME, SERVE, UNIT, call, stop_services

SOCKET_UNIT = "dnf5-oci.socket"
SOCKET = Path("/run/dnf5-oci/gateway")
PLUGIN_CONF = Path("/etc/dnf/libdnf5-plugins/oci.conf")
REPOS = Path("/etc/yum.repos.d")
PROGRAM = Path("/usr/bin/dnf5-oci")

# What the kernel, systemd, package managers, podman and the tests themselves keep.
OTHERS = (
    "/dev", "/packages", "/packages-build", "/proc", "/run/command", "/run/dnf", "/run/lock", "/run/log",
    "/run/output", "/run/systemd", "/run/udev", "/run/user", "/src", "/sys", "/tmp", "/usr/lib/sysimage",
    "/var/cache/apt", "/var/cache/debconf", "/var/cache/ldconfig", "/var/cache/libdnf5", "/var/cache/man",
    "/var/lib/apt", "/var/lib/containers", "/var/lib/dpkg", "/var/lib/rpm", "/var/lib/systemd", "/var/log",
    "/var/tmp",
)


def files():
    """Every file of the machine but those of others: with its mode and owner, and what changes with its
    content."""
    found = {}
    for directory, names, entries in os.walk("/"):
        names[:] = [name for name in names if os.path.join(directory, name) not in OTHERS]
        for name in names + entries:
            path = os.path.join(directory, name)
            if path not in OTHERS:
                found[path] = description(Path(path))
    return found


def description(path):
    status = path.lstat()
    content = None
    if path.is_symlink():
        content = os.readlink(path)
    elif path.is_file():
        content = status.st_size, status.st_mtime_ns
    return oct(status.st_mode), status.st_uid, status.st_gid, content


def changed(before, after):
    """The paths that are new, gone, or other than they were."""
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))


def insecure(address):
    """Makes podman's configuration allow plain HTTP for a registry."""
    conf = Path("/etc/containers/registries.conf.d/test.conf")
    conf.parent.mkdir(parents=True, exist_ok=True)
    conf.write_text(f'[[registry]]\nlocation = "{address}"\ninsecure = true\n')


def repository(directory, registry, name):
    """Pushes a repository with one package, and configures it for dnf5."""
    reference = f"{registry.address}/acme/{name}:stable"
    Repository(directory).add(build(name)).createrepo().push(reference)
    REPOS.mkdir(exist_ok=True)
    (REPOS / f"{name}.repo").write_text(f"[{name}]\nname={name}\nbaseurl=oci://{reference}\ngpgcheck=0\n")
    return reference


def forget(name):
    """Removes what `repository` and dnf5 have made."""
    (REPOS / f"{name}.repo").unlink(missing_ok=True)
    run("rpm", "-e", name, code=None)
    shutil.rmtree("/var/cache/libdnf5", ignore_errors=True)


def installs_from_a_registry(directory, registry, name):
    """dnf5 installs a package from a registry through the service that the bus starts, as in the demo."""
    assert processes(*SERVE) == [], "nothing has started the service before it is needed"
    reference = repository(directory, registry, name)
    run("dnf5", "-y", "install", name)
    assert Path(f"/usr/share/{name}/file").read_text() == f"{name} 1\n"
    assert state("ActiveState") == "active"
    call("Inspect", "sa{sv}", f"oci://{reference}", "0").has("manifest-digest")
    run(PROGRAM, "doctor", f"oci://{reference}").has("ok")


def dnf4_installs_from_a_registry(directory, registry, name):
    """DNF 4 does, through its plugin."""
    repository(directory, registry, name)
    run(*DNF4, "-y", "install", name).has("Complete!")
    assert Path(f"/usr/share/{name}/file").read_text() == f"{name} 1\n"
    shutil.rmtree("/var/cache/dnf")


def enable_the_socket():
    """Enables it, which is all that it takes."""
    stop_services()
    run("systemctl", "enable", "--now", SOCKET_UNIT)
    assert (SOCKET.is_socket(), processes(*SERVE)) == (True, [])


def socket_serves(reference):
    """A program that only knows the socket gets metadata, from the service that it starts."""
    result = run("curl", "--silent", "--show-error", "--fail", "--proxy", f"socks5h://localhost{SOCKET}",
                 f"http://dnf5-oci.alt/{reference}/repodata/repomd.xml")
    assert result.output.startswith("<?xml")
    [service] = processes(*SERVE)
    assert state("MainPID") == str(service)


def zypper_installs_from_a_registry(directory, registry, name):
    """zypper does, through its plugin and the socket."""
    reference = repository(directory, registry, name)
    enable_the_socket()
    zypper.clear()
    zypper.add(reference)
    zypper.zypper("install", name).has(f"Installing: {name}-1-1.noarch")
    assert Path(f"/usr/share/{name}/file").read_text() == f"{name} 1\n"
    zypper.clear()
    run("systemctl", "disable", "--now", SOCKET_UNIT)


def upgrades_below_a_waiting_dnf5(directory, registry, name, upgrade):
    """The package is upgraded while a dnf5 that uses the service waits for its user, who then says yes. The socket
    stays as it is."""
    reference = repository(directory, registry, name)
    enable_the_socket()
    socket = state("InvocationID", SOCKET_UNIT)
    prompt = Prompt("install", name).started()
    [service] = processes(*SERVE)
    upgrade()
    assert processes(*SERVE) == [service]
    assert os.readlink(f"/proc/{service}/exe") == f"{PROGRAM} (deleted)", "the file is a new one"
    prompt.answer("y\n")
    assert Path(f"/usr/share/{name}/file").read_text() == f"{name} 1\n"
    # It ends when it has been idle. The next call starts the new one, without a daemon-reload by hand.
    stop_services()
    run("dnf5", "--refresh", "repoquery", name).has(f"{name}-0:1-1.noarch")
    [service] = processes(*SERVE)
    assert os.readlink(f"/proc/{service}/exe") == str(PROGRAM)
    assert state("NeedDaemonReload") == "no"
    assert (state("ActiveState", SOCKET_UNIT), state("InvocationID", SOCKET_UNIT)) == ("active", socket)
    socket_serves(reference)
    run("systemctl", "disable", "--now", SOCKET_UNIT)


def state(name, unit=UNIT):
    """A property of a unit."""
    return run("systemctl", "show", f"--property={name}", "--value", unit).output.strip()


def is_neither_enabled_nor_started():
    """Only a call on the bus starts the service. The sockets are disabled."""
    assert run("systemctl", "is-enabled", UNIT).output == "static\n"
    for options in ((), ("--global",)):
        assert run("systemctl", *options, "is-enabled", SOCKET_UNIT, code=1).output == "disabled\n"
    assert (state("ActiveState"), state("ActiveState", SOCKET_UNIT)) == ("inactive", "inactive")
    assert processes(*SERVE) == []
    run("busctl", "list", "--activatable").has(NAME)


def units_are_valid():
    assert run("systemd-analyze", "verify", UNIT, SOCKET_UNIT).output == ""


def has_stopped():
    """The service has ended and the bus knows it no more, and there is no socket."""
    assert state("ActiveState", SOCKET_UNIT) == "inactive"
    wait_until(lambda: not processes(*SERVE), "the service has ended")
    run("busctl", "list").has_not(NAME)
