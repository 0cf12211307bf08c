"""The service follows /etc/dnf5-oci, and `dnf5-oci config` prints the effective settings."""

import re
import shutil
from pathlib import Path

import pytest

from harness.commands import processes, run, wait_until
from harness.proxy import PASSWORD, URL, USER, Proxy
from harness.registry import private_registry
from harness.repository import build
from harness.service import NAME

ETC = Path("/etc/dnf5-oci")
DROP_INS = ETC / "config.toml.d"
HOST = "settings.example"
SERVICE = ("/usr/bin/dnf5-oci", "serve")


@pytest.fixture(autouse=True)
def etc():
    """Stops services before and after the test, since they have read other settings."""
    end_service()
    DROP_INS.mkdir(parents=True)
    yield
    shutil.rmtree(ETC)
    end_service()


def end_service():
    for process in processes(*SERVICE):
        run("kill", process, code=None)
    wait_until(lambda: not processes(*SERVICE), "the service ends")


def settings(text):
    (ETC / "config.toml").write_text(text)


@pytest.fixture
def tools(dnf, registry):
    dnf.repository().add(build("one")).createrepo().push(dnf.reference(registry))
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    return f"oci://{dnf.reference(registry)}"


def effective_settings():
    """(value, source) of each key, as printed."""
    lines = run("dnf5-oci", "config").output.splitlines()
    found = [re.fullmatch(r"(\S+) = (.*?) +# (\S+)", line) for line in lines]
    assert all(found), lines
    return {line[1]: (line[2], line[3]) for line in found}


def test_what_is_in_force_and_where_it_comes_from():
    settings('processes = 2\nattempts = 5\n[environment]\nHTTPS_PROXY = "http://u:secret@proxy:1"\n')
    (DROP_INS / "10-own.toml").write_text("attempts = 7\nseconds.stall = 5\n")
    found = effective_settings()
    assert found["processes"] == ("2", "/etc/dnf5-oci/config.toml")
    assert found["attempts"] == ("7", "/etc/dnf5-oci/config.toml.d/10-own.toml")
    assert found["seconds.stall"] == ("5", "/etc/dnf5-oci/config.toml.d/10-own.toml")
    assert found["seconds.open"] == ("120", "default")
    assert found["environment.HTTPS_PROXY"] == ('"http://proxy:1"', "/etc/dnf5-oci/config.toml")


def test_an_unknown_key_is_told_with_file_and_line(dnf, tools):
    settings("processes = 2\nproceses = 3\n")
    line = '/etc/dnf5-oci/config.toml: line 2: unknown key "proceses", expected one of "auth-file"'
    run("dnf5-oci", "config", code=1).has(line)
    run("dnf5-oci", "doctor", tools, code=1).has(line)
    result = dnf("repoquery", code=1).has(line)
    assert result.output.count(line) == 1, result
    dnf("list", "--installed", code=None).has_not("Failed")


@pytest.mark.parametrize("backend", ["system", "private"])
def test_which_skopeo(dnf, tools, backend):
    dnf.backend(backend)
    settings('skopeo = "/opt/no-such-skopeo"\n')
    dnf("repoquery", code=1).has(f"repository tools {tools}: /opt/no-such-skopeo cannot be run")


def test_limits(dnf, tools):
    settings("limits.metadata-files = 1\n")
    dnf("repoquery", code=1).has(f"repository tools {tools}: ").has("more than 1 ")


def test_the_service_ends_when_it_is_told_to(dnf, tools):
    settings("seconds.idle = 1\n")
    dnf("repoquery").has("one-0:1-1.noarch")
    assert processes(*SERVICE)
    wait_until(lambda: not processes(*SERVICE), "the service ends")


@pytest.fixture(scope="module")
def with_users(tmp_path_factory):
    registry = private_registry(tmp_path_factory.mktemp("private"), HOST)
    registry.certificate.trust(HOST)
    yield registry
    registry.stop()


@pytest.fixture
def private(dnf, with_users):
    reference = dnf.reference(with_users)
    dnf.repository().add(build("one")).createrepo().push(reference, options=with_users.login)
    dnf.add("tools", f"oci://{reference}")


def log_in(file):
    run("skopeo", "login", "--authfile", file, "--username", "user", "--password", "the-password",
        HOST)


def test_environment_and_what_comes_before_it(dnf, private, tmp_path):
    log_in("/etc/dnf5-oci/auth.json")
    settings(f'environment.HTTPS_PROXY = "{URL.replace("//", f"//{USER}:{PASSWORD}@")}"\n')
    proxy = Proxy(tmp_path)
    try:
        dnf("repoquery").has("one-0:1-1.noarch")
        assert proxy.count(HOST) > 0
    finally:
        proxy.stop()
    dnf.add("tools", f"oci://{HOST}/acme/{dnf.name}:stable", proxy="http://localhost:1")
    dnf("clean", "all")
    dnf("repoquery", code=1).has("127.0.0.1:1: connect: connection refused")


def test_whoever_reads_the_properties_starts_at_most_one_process(tmp_path):
    # Where the service may write.
    started = Path("/var/cache/started")
    skopeo = tmp_path / "skopeo"
    skopeo.write_text(f'#!/bin/sh\necho >> {started}\nexec /usr/bin/skopeo "$@"\n')
    skopeo.chmod(0o755)
    settings(f'skopeo = "{skopeo}"\n')
    read = ("busctl", "get-property", NAME, "/io/github/dnf5_oci", f"{NAME}.Backend1", "SkopeoVersion")
    as_nobody = ("setpriv", "--reuid=nobody", "--clear-groups")
    for _ in range(3):
        run(*as_nobody, *read).has('s ""')
    run(*as_nobody, "busctl", "introspect", NAME, "/io/github/dnf5_oci").has(".SkopeoVersion")
    assert not started.exists()
    version = run("skopeo", "--version").output.split()[2]
    for _ in range(3):
        run(*read).has(f's "{version}"')
        run(*as_nobody, *read).has(f's "{version}"')
    assert started.read_text() == "\n"
    started.unlink()
