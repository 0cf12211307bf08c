"""Whatever fails with DNF 4 is told in one clear line, and affects nothing else."""

import os
import re
import shutil

import pexpect
import pytest

from conftest import NO_BUS, PRIVATE, insecure
from harness import dnf4 as harness
from harness.commands import processes, run, wait_until
from harness.dnf4 import PROGRAM
from harness.registry import private_registry
from harness.repository import build
from harness.service import SERVE, SETTINGS, service_as_systemd_runs_it, settings, stop_services

# Lines of the plugin and of the service.
OURS = re.compile(r"(repository tools|dnf5-oci|the dnf5-oci service|/etc/dnf5-oci/).*")

def ours(result):
    """Our lines in the output."""
    return [line for line in result.output.splitlines() if OURS.fullmatch(line)]


@pytest.fixture(params=["system", "private"])
def backend(dnf4, request):
    dnf4.backend(request.param)
    stop_services()
    yield request.param
    wait_until(lambda: not processes(*PRIVATE), "no private instance is left")


@pytest.fixture
def one_line(dnf4):
    """Asserts that commands that need the repository print one line, the same one; and the others none of ours if
    `quiet`, and do what they should. Returns the line."""
    def check(quiet=True, **options):
        failed = dnf4("makecache", code=1, **options)
        dnf4.clear_cache()
        skipped = dnf4("--setopt=tools.skip_if_unavailable=1", "repoquery", **options)
        silent = dnf4("-q", "--setopt=tools.skip_if_unavailable=1", "repoquery", **options)
        lines = [ours(result) for result in (failed, skipped, silent)]
        assert lines[0] == lines[1] == lines[2] and len(lines[0]) == 1, lines
        run("rpm", "-i", build("present"))
        for command in (["list", "--installed", "present"], ["-y", "remove", "present"]):
            found = ours(dnf4(*command, **options))
            assert found == ([] if quiet else lines[0]), found
        run("rpm", "-q", "present", code=1)
        return lines[0][0]
    return check


def test_unreachable(dnf4, backend, one_line):
    insecure("localhost:5998")
    dnf4.add("tools", "oci://localhost:5998/acme/rpms:1")
    line = one_line()
    assert line.startswith("repository tools oci://localhost:5998/acme/rpms:1: "), line
    assert "connection refused; check the network, the registry, and registries.conf for its mirrors" in line, line


def test_unknown_tag(dnf4, registry, backend, one_line):
    reference = dnf4.reference(registry, "none")
    dnf4.add("tools", f"oci://{reference}")
    line = one_line()
    assert line.startswith(f"repository tools oci://{reference}: "), line
    assert line.endswith("; check the reference's spelling and tag, and that it was pushed"), line


@pytest.mark.parametrize("reference", ["oci://acme/rpms", "oci://", "oci://localhost:5000/acme/$unset"])
def test_an_invalid_reference(dnf4, backend, one_line, reference):
    dnf4.add("tools", reference)
    line = one_line()
    assert line.startswith(f'repository tools: invalid reference "{reference}": '), line


def test_invalid_settings(dnf4, registry, backend, one_line):
    dnf4.add("tools", f"oci://{dnf4.reference(registry)}")
    dnf4.add("other", f"oci://{dnf4.reference(registry)}", skip_if_unavailable=1)
    with settings("nonsense = 1\n"):
        # The service knows when it starts, and serves nothing.
        line = one_line(quiet=False)
    stop_services()
    assert line.startswith(f'{SETTINGS}: line 1: unknown key "nonsense"'), line


@pytest.fixture(scope="module")
def private(tmp_path_factory):
    """A registry with a user, and TLS by an authority that is not trusted."""
    registry = private_registry(tmp_path_factory.mktemp("private"), "four.example", 5444)
    yield registry
    registry.stop()


@pytest.fixture
def protected(dnf4, private):
    """A repository there."""
    dnf4.repository().add(build("one")).createrepo().push(dnf4.reference(private), options=private.login)
    return f"oci://{dnf4.reference(private)}"


def test_credentials_and_certificates_in_the_repo_file(dnf4, private, protected, backend, tmp_path):
    options = {"sslcacert": private.certificate.authority, "username": "user", "password": "the-password"}
    dnf4.add("tools", protected, **options)
    dnf4("repoquery").has("one-0:1-1.noarch")
    dnf4("download", "one", cwd=tmp_path)
    dnf4.add("tools", protected, username="user", password="the-password", sslverify=0)
    dnf4("--refresh", "repoquery").has("one-0:1-1.noarch")
    # Other repositories do not have them.
    dnf4.add("other", protected, skip_if_unavailable=1)
    dnf4("repoquery").has("one-0:1-1.noarch").has(f"repository other {protected}: ").has("x509")


def test_401(dnf4, private, protected, backend, one_line):
    dnf4.add("tools", protected, sslcacert=private.certificate.authority)
    line = one_line()
    assert line.startswith(f"repository tools {protected}: ") and "authentication required" in line, line
    assert "podman login" in line, line


def test_a_wrong_password_is_not_shown(dnf4, private, protected, backend, one_line):
    dnf4.add("tools", protected, sslcacert=private.certificate.authority, username="user", password="wrong-one")
    line = one_line()
    assert "check the username and password in the repository's configuration" in line and "wrong-one" not in line


def test_a_certificate_that_is_not_trusted(dnf4, protected, backend, one_line):
    dnf4.add("tools", protected, username="user", password="the-password")
    assert "x509" in one_line()


def test_options_without_effect(dnf4, private, protected, backend):
    dnf4.add("tools", protected, username="user", password="the-password", sslverify=0, ip_resolve="4",
             proxy_sslverify=0)
    line = (f"repository tools {protected}: ip_resolve, proxy_sslverify in its configuration has no effect: "
            "skopeo has no such setting")
    result = dnf4("repoquery").has("one-0:1-1.noarch")
    assert [found.startswith(line) for found in ours(result)] == [True], result
    assert ours(dnf4("repoquery")) == []


@pytest.mark.parametrize("variable", ["https_proxy", "ALL_PROXY"])
def test_the_callers_proxy(dnf4, private, protected, backend, variable):
    options = {"sslcacert": private.certificate.authority, "username": "user", "password": "the-password"}
    dnf4.add("tools", protected, **options)
    nowhere = os.environ | {variable: "http://localhost:1"}
    dnf4("repoquery", env=nowhere, code=1).has("dial tcp 127.0.0.1:1: connect: connection refused")
    dnf4.add("tools", protected, proxy="_none_", **options)
    dnf4("repoquery", env=nowhere).has("one-0:1-1.noarch")
    dnf4.add("tools", protected, proxy="http://localhost:1", **options)
    dnf4("--refresh", "repoquery", code=1).has("dial tcp 127.0.0.1:1: connect: connection refused")


def test_a_slow_registry(dnf4, registry, backend, tmp_path):
    """`timeout` and `minrate` of the .repo file are the service's, not those of DNF's connection to it."""
    log = tmp_path / "log"
    dnf4.repository().add(build("one")).createrepo().push(dnf4.reference(registry))
    dnf4.add("tools", f"oci://{dnf4.reference(registry)}", timeout=7, minrate="5k")
    if backend == "private":
        dnf4("repoquery").has("one-0:1-1.noarch")
        return
    with service_as_systemd_runs_it(log, DNF5_OCI_LOG="trace"):
        dnf4("repoquery").has("one-0:1-1.noarch")


def test_a_variable_that_is_no_text(dnf4, registry, backend):
    dnf4.repository().add(build("one")).createrepo().push(dnf4.reference(registry))
    dnf4.add("tools", f"oci://{dnf4.reference(registry)}")
    environment = os.environb | {b"https_proxy": b"http://s3cret\xff\xfe"}
    result = dnf4("makecache", env=environment, code=1).has_not("s3cret").has_not("Traceback")
    result.has("repository tools: an option or a proxy variable is not valid UTF-8; correct it")
    assert len(ours(result)) == 1, result
    dnf4("list", "--installed", env=environment)


def test_no_proxy_at_all(dnf4, registry, one_line):
    dnf4.add("tools", f"oci://{dnf4.reference(registry)}")
    line = one_line(quiet=False, env=os.environ | {"no_proxy": "*"})
    assert line == ("dnf5-oci: connection to the service failed: no_proxy=* disables all proxies, and the service is "
                    "one for dnf; unset no_proxy")


@pytest.mark.parametrize(("options", "reason"), [
    ({"service = /usr/bin/dnf5-oci": "service = /opt/no-such"}, "/opt/no-such cannot be executed"),
    ({"service = /usr/bin/dnf5-oci": "service = /usr/bin/true"}, "Did not receive a reply;"),
    ({"backend = auto": "backend = system"}, "Failed to connect to socket /nonexistent"),
], ids=["no-such-program", "another-program", "no-bus"])
def test_no_service(dnf4, registry, one_line, options, reason):
    dnf4.add("tools", f"oci://{dnf4.reference(registry)}")
    for default, value in options.items():
        harness.option(default, value)
    line = one_line(quiet=False, env=NO_BUS)
    assert line.startswith(f"dnf5-oci: connection to the service failed: {reason}"), line
    assert line.endswith('; check "backend" and "service" in oci.conf'), line


def test_an_unknown_backend(dnf4, registry, one_line):
    dnf4.add("tools", f"oci://{dnf4.reference(registry)}")
    dnf4.backend("bus")
    assert one_line(quiet=False) == ('dnf5-oci: connection to the service failed: unknown backend "bus"; use auto, '
                                     "system or private in oci.conf")


def test_without_a_configuration_file(dnf4, registry):
    dnf4.repository().add(build("one")).createrepo().push(dnf4.reference(registry))
    dnf4.add("tools", f"oci://{dnf4.reference(registry)}")
    aside = shutil.move(harness.CONF, "/tmp/oci.conf")
    try:
        dnf4("repoquery").has("one-0:1-1.noarch")
    finally:
        shutil.move(aside, harness.CONF)


def test_the_plugin_can_be_disabled(dnf4, registry):
    dnf4.add("tools", f"oci://{dnf4.reference(registry)}")
    harness.option("enabled = 1", "enabled = 0")
    dnf4("makecache", code=1).has("Unsupported protocol")


def test_a_package_that_the_registry_has_changed(dnf4, registry, backend):
    dnf4.repository().add(build("one")).createrepo().push(dnf4.reference(registry))
    dnf4.add("tools", f"oci://{dnf4.reference(registry)}")
    dnf4("makecache")
    registry.clear()
    dnf4("-y", "install", "--downloadonly", "one")
    [digest] = registry.blobs()
    dnf4("clean", "packages")
    registry.corrupt_blob(digest)
    try:
        result = dnf4("-y", "install", "--downloadonly", "one", code=1)
    finally:
        registry.corrupt_blob(digest)
    assert len(ours(result)) == 1 and "checksum mismatch" in ours(result)[0], result


def test_the_service_ends_while_the_user_thinks(dnf4, registry, backend):
    dnf4.repository().add(build("one")).createrepo().push(dnf4.reference(registry))
    dnf4.add("tools", f"oci://{dnf4.reference(registry)}")
    dnf4("makecache")
    running = pexpect.spawn(PROGRAM[0], [*PROGRAM[1:], "install", "--downloadonly", "one"], encoding="utf-8",
                            timeout=60, dimensions=(50, 300))
    running.expect(r"\[y/N\]: ")
    for process in processes(*(PRIVATE if backend == "private" else SERVE)):
        run("kill", "-KILL", process)
    running.sendline("y")
    running.expect(pexpect.EOF)
    output = running.before
    running.close()
    assert running.exitstatus == 1, output
    lines = [line for line in output.splitlines() if "dnf5-oci service" in line]
    assert len(lines) == 1 and " again" in lines[0] and "Traceback" not in output, output
