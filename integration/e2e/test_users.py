"""dnf5 run by an ordinary user, with the user's own instance, credentials, caches and socket."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from conftest import CACHE, PRIVATE
from harness.api import BEGIN
from harness.commands import processes, run, wait_until
from harness.repository import build
from harness.service import unit
from harness.users import PASSWORD, User


@pytest.fixture(scope="module")
def accounts():
    """Two users."""
    return User("builder"), User("other")


@pytest.fixture
def user(accounts):
    """A user with an empty home."""
    for account in accounts:
        run("sh", "-c", f"find {account.home} -mindepth 1 -delete; rm -rf /run/user/{account.id}")
    return accounts[0]


@pytest.fixture
def tools(dnf, registry, pushed):
    dnf.add("tools", f"oci://{dnf.reference(registry)}")


def test_an_instance_and_a_cache_of_ones_own(dnf, registry, user, tools):
    user.run("dnf5", "repoquery").has("one-0:1-1.noarch")
    user.run("dnf5", "download", "one")
    assert (user.home / "one-1-1.noarch.rpm").stat().st_uid == user.id
    assert list(user.home.glob(".cache/libdnf5/tools-*/repodata/repomd.xml"))
    assert not list(CACHE.glob("tools-*")), "nothing in root's cache"
    # The metadata, the package, and one manifest in each run.
    assert len(registry.manifests()) == 2 and len(registry.blobs()) == 2
    registry.clear()
    user.run("dnf5", "repoquery").has("one-0:1-1.noarch")
    assert registry.requests() == []


# Loads repositories, prints a line, and waits for one.
HOLD = BEGIN + """
base = load()
print(package(base, "one").get_nevra(), flush=True)
sys.stdin.readline()
"""

# Connects to a socket, and prints what it receives: nothing, if the other side hangs up.
KNOCK = """
import socket, sys
knocking = socket.socket(socket.AF_UNIX)
knocking.connect(sys.argv[1])
print(knocking.recv(1))
"""


def test_nobody_else_reaches_what_serves_a_user(dnf, registry, accounts, user, tools):
    runtime = user.runtime_directory()
    holding = subprocess.Popen(
        [*user.command, "python3", "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        cwd=user.home, env=user.environment(XDG_RUNTIME_DIR=runtime),
    )
    try:
        assert holding.stdout.readline() == "one-1-1.noarch\n"
        [instance] = processes(*PRIVATE)
        assert os.stat(f"/proc/{instance}").st_uid == user.id
        [socket] = runtime.glob("dnf5-oci-*/gateway")
        for path, mode in ((socket, 0o600), (socket.parent, 0o700), (user.home / ".cache/dnf5-oci", 0o700)):
            found = path.stat()
            assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (user.id, mode), path
        # The service checks its peers even if the socket is accessible by mistake.
        for path in (runtime, socket.parent):
            path.chmod(0o755)
        socket.chmod(0o666)
        user.run("curl", "-sS", f"--proxy=socks5h://1.0:-@localhost{socket}",
                 f"http://dnf5-oci.alt/{dnf.reference(registry)}/repodata/repomd.xml").has("<repomd")
        accounts[1].run("python3", "-c", KNOCK, socket, cwd="/").has("b''")
    finally:
        holding.communicate("\n", timeout=60)
    wait_until(lambda: not processes(*PRIVATE), "it ends with its user")
    assert list(runtime.iterdir()) == [], "the socket is removed"


RUNTIME = {
    "of-the-user": lambda user: user.runtime_directory(),
    "none": lambda user: None,
    "missing": lambda user: "/nonexistent/runtime",
    # Variables that su keeps from its caller.
    "of-somebody-else": lambda user: "/run/dnf5-oci",
    "with-a-space": lambda user: made(user, user.home / "a b%20c"),
    "too-long": lambda user: made(user, user.home / ("x" * 100)),
}


def made(user, directory):
    directory.mkdir()
    os.chown(directory, user.id, user.id)
    return directory


@pytest.mark.parametrize("runtime", RUNTIME)
def test_runtime_directories(dnf, user, tools, runtime):
    result = user.run("dnf5", "repoquery", XDG_RUNTIME_DIR=RUNTIME[runtime](user))
    result.has("one-0:1-1.noarch").has_not("denied")
    wait_until(lambda: not processes(*PRIVATE), "it ends with its user")
    assert not list(Path("/tmp").glob("dnf5-oci-*")), "no directory is left"


@pytest.fixture
def read_only(user):
    """A read-only home. dnf5 itself needs a directory for its log."""
    run("mount", "--bind", user.home, user.home)
    run("mount", "-o", "remount,bind,ro", user.home)
    yield {"XDG_STATE_HOME": f"/tmp/state-{user.id}"}
    run("umount", user.home)


@pytest.mark.parametrize("home", ["read-only", "not-there", "none"])
def test_without_a_home(dnf, registry, user, tools, request, home):
    # Another user could have created a directory with this name.
    decoy = Path("/tmp/dnf5-oci")
    decoy.mkdir(exist_ok=True)
    variables = {"HOME": {"none": None, "not-there": "/nonexistent"}.get(home, user.home)}
    variables |= {"XDG_STATE_HOME": f"/tmp/state-{user.id}"}
    if home == "read-only":
        request.getfixturevalue("read_only")
    cache = Path(f"/tmp/cache-{home}")
    result = user.run("dnf5", f"--setopt=cachedir={cache}", "repoquery", cwd="/", **variables)
    result.has("one-0:1-1.noarch")
    user.run("dnf5", f"--setopt=cachedir={cache}", "download", "one", f"--destdir={cache}", cwd="/", **variables)
    assert (cache / "one-1-1.noarch.rpm").exists()
    wait_until(lambda: not processes(*PRIVATE), "it ends with its user")
    assert not list(Path("/tmp").glob("dnf5-oci-*")), "no directory is left"
    assert list(decoy.iterdir()) == []


AUTH_FILES = {
    "of-the-runtime-directory": lambda user: user.runtime_directory() / "containers/auth.json",
    "of-the-home": lambda user: user.home / ".config/containers/auth.json",
}


@pytest.mark.parametrize("file", AUTH_FILES)
def test_credentials_of_ones_own(dnf, private_registry, user, file):
    dnf.name = "credentials"
    reference = dnf.reference(private_registry)
    dnf.repository().add(build("one")).createrepo().push(
        reference, options=["--username", "user", "--password", PASSWORD])
    dnf.add("tools", f"oci://{reference}")
    runtime = user.runtime_directory()
    file = AUTH_FILES[file](user)
    # Root's credentials are not the user's.
    root = Path("/run/containers/0/auth.json")
    user.log_in(private_registry, root)
    try:
        result = user.run("dnf5", "repoquery", code=1, XDG_RUNTIME_DIR=runtime)
        doctor = user.run("dnf5-oci", "doctor", f"oci://{reference}", code=1, XDG_RUNTIME_DIR=runtime)
    finally:
        root.unlink()
    result.has(f"repository tools oci://{reference}: ").has("authentication required")
    doctor.has(str(runtime / "containers/auth.json")).has(f"{user.home}/.config/containers/auth.json")
    user.log_in(private_registry, file)
    user.run("dnf5", "repoquery", XDG_RUNTIME_DIR=runtime).has("one-0:1-1.noarch").has_not(PASSWORD)
    # The user's credentials are not root's.
    dnf("repoquery", code=1).has("authentication required")


@pytest.fixture
def with_password(dnf, private_registry):
    """A repository whose .repo file has the password."""
    dnf.name = "password"
    reference = dnf.reference(private_registry)
    dnf.repository().add(build("one")).createrepo().push(
        reference, options=["--username", "user", "--password", PASSWORD])
    dnf.add("tools", f"oci://{reference}", username="user", password=PASSWORD)


# What is done with /tmp before a command is run.
TMP = {"usual": "true", "full": "mount -t tmpfs -o nr_inodes=1 tmpfs /tmp", "absent": "mount -t tmpfs -o ro tmpfs /tmp"}


def with_tmp(kind, *command):
    return ["unshare", "--mount", "sh", "-c", f"{TMP[kind]} && exec \"$@\"", "sh", *command]


@pytest.mark.parametrize("tmp", TMP)
def test_a_password_in_the_repo_file_of_an_ordinary_user(user, with_password, tmp):
    environment = user.environment(XDG_RUNTIME_DIR=user.runtime_directory())
    command = with_tmp(tmp, *user.command, "dnf5", "repoquery")
    run(*command, env=environment, cwd=user.home).has("one-0:1-1.noarch")


@pytest.mark.parametrize("tmp", TMP)
def test_a_password_in_the_repo_file_of_root_without_capabilities(dnf, with_password, tmp):
    dnf.backend("private")
    command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "dnf5", "repoquery"]
    run(*with_tmp(tmp, *command)).has("one-0:1-1.noarch")


@pytest.mark.parametrize("lines", [
    "TemporaryFileSystem=/tmp:ro", "CapabilityBoundingSet=", "ReadWritePaths=\nReadWritePaths=/var/cache",
], ids=["absent-tmp", "no-capabilities", "read-only-tmp"])
def test_a_password_in_the_repo_file_of_the_systems_service(dnf, with_password, lines):
    dnf.backend("system")
    with unit(f"[Service]\n{lines}\n"):
        dnf("repoquery").has("one-0:1-1.noarch")
