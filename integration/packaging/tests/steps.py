"""What the tests of all packages do with an installed dnf5-oci, whichever package manager has installed it."""

import os
import shutil
from pathlib import Path

from harness.commands import processes, run, wait_until
from harness.prompt import Prompt
from harness.repository import Repository, build
from harness.service import NAME, SERVE, UNIT, call, stop_services

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


def upgrades_below_a_waiting_dnf5(directory, registry, name, upgrade):
    """The package is upgraded while a dnf5 that uses the service waits for its user, who then says yes."""
    repository(directory, registry, name)
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


def state(name):
    """A property of the unit."""
    return run("systemctl", "show", f"--property={name}", "--value", UNIT).output.strip()


def is_neither_enabled_nor_started():
    """Only a call on the bus starts the service."""
    assert run("systemctl", "is-enabled", UNIT).output == "static\n"
    assert state("ActiveState") == "inactive"
    assert processes(*SERVE) == []
    run("busctl", "list", "--activatable").has(NAME)


def unit_is_valid():
    assert run("systemd-analyze", "verify", UNIT).output == ""


def has_stopped():
    """The service has ended and the bus knows it no more."""
    wait_until(lambda: not processes(*SERVE), "the service has ended")
    run("busctl", "list").has_not(NAME)
