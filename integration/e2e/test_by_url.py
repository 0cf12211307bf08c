"""Programs without a session: dnf5-oci.socket serves what their URLs name."""

import os
import re
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest

from harness.commands import processes, run, wait_until
from harness.programs import HOST, PROXY, SOCKET, SOCKET_UNIT, curl, status
from harness.repository import build
from harness.service import NAME, SERVE, UNIT, journal, settings, stop_services, unit
from harness.signing import NOTHING, temporary_policy
from harness.users import User

REPOMD = "repodata/repomd.xml"
PACKAGE = "one-1-1.noarch.rpm"

# After this many seconds, repomd.xml is the first request of another run of a program.
SAME_RUN = 10

# curl's exit codes if the gateway closes the connection, whatever curl notices first.
REFUSED = (7, 97)


@pytest.fixture(autouse=True)
def socket():
    """The standing socket, as `systemctl enable --now dnf5-oci.socket` makes it."""
    stop_services()
    run("systemctl", "start", SOCKET_UNIT)
    yield
    run("systemctl", "stop", SOCKET_UNIT)
    stop_services()


def test_a_run_of_a_program_sees_one_manifest(registry, pushed, url, tmp_path):
    assert curl(f"{url}/{REPOMD}").output == (pushed.directory / REPOMD).read_text()
    primary = next(pushed.directory.glob("repodata/*-primary.xml*")).name
    for name in (f"repodata/{primary}", PACKAGE):
        curl(f"{url}/{name}", "--output", tmp_path / "file")
        assert (tmp_path / "file").read_bytes() == (pushed.directory / name).read_bytes()
    assert len(registry.manifests()) == 1
    # The metadata and the package.
    assert len(registry.blobs()) == 2


def test_headers_and_parts(pushed, url, tmp_path):
    size = (pushed.directory / PACKAGE).stat().st_size
    curl(f"{url}/{PACKAGE}", "--head").has("HTTP/1.1 200").has(f"content-length: {size}")
    curl(f"{url}/{PACKAGE}", "--range", "100-", "--output", tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == (pushed.directory / PACKAGE).read_bytes()[100:]
    assert status(f"{url}/{PACKAGE}", "--request", "DELETE")[0] == 405


def test_the_tag_is_looked_up_again_in_the_next_run(dnf, registry, pushed, url):
    before = curl(f"{url}/{REPOMD}").output
    moved = dnf.repository("moved").add(build("one", "2")).createrepo()
    moved.push(dnf.reference(registry))
    assert curl(f"{url}/{REPOMD}").output == before, "the run goes on"
    time.sleep(SAME_RUN + 0.5)
    assert status(f"{url}/{PACKAGE}", "--output", "/dev/null") == (200, ""), "the run may have waited for its user"
    assert curl(f"{url}/{REPOMD}").output == (moved.directory / REPOMD).read_text()
    code, line = status(f"{url}/{PACKAGE}")
    assert code == 404
    assert line == (f'oci://{dnf.reference(registry)}: package "{PACKAGE}" is not in the repository; refresh the '
                    "metadata with --refresh; if that does not help, have its owner push the package\n")


def test_it_is_the_service_of_the_bus(dnf, pushed, url, registry):
    assert processes(*SERVE) == []
    curl(f"{url}/{REPOMD}")
    [service] = processes(*SERVE)
    run("busctl", "status", NAME).has(f"PID={service}\n")
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    dnf("repoquery").has("one-0:1-1.noarch")
    assert processes(*SERVE) == [service]


def test_the_bus_starts_it_and_the_socket_works(dnf, url):
    run("busctl", "get-property", NAME, "/io/github/dnf5_oci", f"{NAME}.Backend1", "Version")
    [service] = processes(*SERVE)
    curl(f"{url}/{REPOMD}")
    assert processes(*SERVE) == [service]


def test_it_ends_when_idle_and_starts_again(impatient, url):
    for _ in range(3):
        curl(f"{url}/{REPOMD}").has("<repomd")
        wait_until(lambda: not processes(*SERVE), "the service has ended")
        assert SOCKET.is_socket()
    assert run("systemctl", "is-active", SOCKET_UNIT).output == "active\n"


def test_no_connection_is_lost_when_it_ends(impatient, url):
    """Each comes about when the service has been idle for long enough."""
    for pause in (0.9, 0.95, 1, 1.05, 1.1, 1.2) * 3:
        curl(f"{url}/{REPOMD}").has("<repomd")
        time.sleep(pause)


@pytest.fixture
def large(dnf, front, tmp_path):
    """The URL of a package in a registry that can pause in the middle of it."""
    package = build("large", size=300_000)
    dnf.repository("large").add(package).createrepo().push(dnf.reference(front))
    return f"{HOST}/{dnf.reference(front)}/{package.name}"


def test_a_slow_download_is_no_idleness(impatient, front, large, tmp_path):
    front.half_sent = lambda digest: time.sleep(3)
    curl(large, "--output", tmp_path / "large.rpm")
    assert (tmp_path / "large.rpm").read_bytes() == build("large", size=300_000).read_bytes()


def test_it_is_for_root_alone(url):
    as_nobody = ("setpriv", "--reuid=nobody", "--clear-groups")
    command = ("curl", "--silent", "--show-error", "--proxy", PROXY, f"{url}/{REPOMD}")
    assert oct(SOCKET.parent.stat().st_mode & 0o777) == "0o700" and oct(SOCKET.stat().st_mode & 0o777) == "0o600"
    run(*as_nobody, *command, code=7)
    # The service looks who it is as well.
    SOCKET.parent.chmod(0o755)
    SOCKET.chmod(0o666)
    try:
        assert run(*as_nobody, *command, code=None).code in REFUSED
        assert run(*command).output.startswith("<?xml")
    finally:
        SOCKET.parent.chmod(0o700)


def test_other_urls_are_refused_with_the_reason(registry):
    for path, line in (
        (f"{registry.address}/acme/rpms/{REPOMD}", "it has no tag or digest; add it, as in "
                                                  "http://dnf5-oci.alt/quay.io/acme/rpms:stable"),
        (f"{registry.address}/acme/Rpms:1/{REPOMD}", "must be lower case"),
        (f"acme/rpms:1/{REPOMD}", '"acme" is not a registry host'),
        (f"{registry.address}/acme/rpms:1", "no path of a file follows"),
    ):
        code, body = status(f"{HOST}/{path}")
        assert (code, body.count("\n")) == (404, 1) and line in body, body
        assert body in journal(UNIT)


def test_failures_of_registries(dnf, registry, private_registry):
    private = private_registry.address
    missing = dnf.reference(registry, "missing")
    for reference, code, line in (
        (missing, 404, "manifest unknown"),
        ("localhost:1/acme/rpms:1", 503, "check the network"),
        (f"{private}/acme/rpms:1", 403, f'run "podman login {private}"'),
    ):
        found, body = status(f"{HOST}/{reference}/{REPOMD}")
        assert (found, body.count("\n")) == (code, 1), body
        assert body.startswith(f"oci://{reference}: ") and line in body, body
        assert body in journal(UNIT)


def test_the_signature_policy_holds(dnf, registry, url):
    with temporary_policy({}, default=NOTHING):
        code, body = status(f"{url}/{REPOMD}")
    assert code == 403 and "rejected by policy" in body.lower(), body


def test_with_invalid_settings_nothing_is_fetched(registry, url):
    with settings("proceses = 1\n"):
        code, body = status(f"{url}/{REPOMD}")
    assert code == 500 and 'unknown key "proceses"' in body, body
    assert registry.requests() == []


def test_a_layout_in_a_directory(dnf, pushed, registry):
    layout = Path("/srv/my mirror")
    run("skopeo", "copy", "--quiet", "--src-tls-verify=false", f"docker://{dnf.reference(registry)}",
        f"oci:{layout}:1")
    try:
        assert curl(f"{HOST}//srv/my%20mirror:1/{REPOMD}").output == (pushed.directory / REPOMD).read_text()
    finally:
        shutil.rmtree(layout)


def test_other_hosts_are_passed_through(web, registry):
    (web.directory / "file").write_text("from elsewhere\n")
    assert curl(f"{web.url}/file").output == "from elsewhere\n"
    assert ("GET", "/file", 200) in web.requests()
    curl("http://localhost:1/file", code=97)
    assert re.search("^connecting to localhost port 1 failed: Connection refused", journal(UNIT), re.MULTILINE)


def test_it_stops_at_once(front, large):
    half, end = threading.Event(), threading.Event()
    front.half_sent = lambda digest: half.set() or end.wait(60)
    download = subprocess.Popen(["curl", "--silent", "--proxy", PROXY, large], stdout=subprocess.PIPE)
    assert half.wait(60)
    run("systemctl", "stop", UNIT, timeout=10)
    end.set()
    output, _ = download.communicate()
    assert download.returncode != 0 and len(output) < 300_000
    assert processes(*SERVE) == []


def test_it_is_started_again_after_a_kill(url):
    for _ in range(3):
        curl(f"{url}/{REPOMD}").has("<repomd")
        run("kill", "-KILL", *processes(*SERVE))


def test_the_units_are_valid():
    directory = Path("/usr/lib/systemd")
    assert run("systemd-analyze", "verify", directory / "system" / SOCKET_UNIT).output == ""
    verify = ("systemd-analyze", "--user", "verify", directory / "user" / SOCKET_UNIT)
    assert run(*verify, env=os.environ | {"XDG_RUNTIME_DIR": "/run"}).output == ""


def test_enabling_it_is_all_that_it_takes(url):
    run("systemctl", "stop", SOCKET_UNIT)
    stop_services()
    run("systemctl", "enable", "--now", SOCKET_UNIT)
    try:
        curl(f"{url}/{REPOMD}").has("<repomd")
    finally:
        run("systemctl", "disable", SOCKET_UNIT)


@pytest.fixture
def user():
    """An ordinary user with an own systemd, as after a login."""
    user = User("socket-user")
    user.runtime_directory()
    with unit("[Service]\nPAMName=\nEnvironment=XDG_RUNTIME_DIR=/run/user/%i\n", "user@.service"):
        run("systemctl", "start", f"user@{user.id}")
        yield user
        run("systemctl", "stop", f"user@{user.id}")


def test_a_users_own(user, pushed, url):
    runtime = user.runtime_directory()
    proxy = f"socks5h://localhost{runtime}/dnf5-oci/gateway"
    user.run("systemctl", "--user", "enable", "--now", SOCKET_UNIT, XDG_RUNTIME_DIR=runtime)
    result = user.run("curl", "--silent", "--show-error", "--proxy", proxy, f"{url}/{REPOMD}")
    assert result.output == (pushed.directory / REPOMD).read_text()
    [service] = processes(*SERVE, "--no-bus")
    assert os.stat(f"/proc/{service}").st_uid == user.id
    assert oct((runtime / "dnf5-oci/gateway").stat().st_mode & 0o777) == "0o600"
    # Root is somebody else.
    assert curl(f"{url}/{REPOMD}", proxy=proxy, code=None).code in REFUSED


def test_without_a_socket_there_is_nothing_to_serve():
    run("dnf5-oci", "serve", "--no-bus", code=1).has("systemd has passed no socket; start dnf5-oci.socket")
