"""dnf's options of a repository keep their meaning, although skopeo makes the connections."""

import os
from pathlib import Path

import pytest

from harness.commands import run
from harness.proxy import PASSWORD, URL, USER, Proxy
from harness.registry import Certificate, Registry, private_registry
from harness.repository import build
from harness.service import service_as_systemd_runs_it, stop_services, unit

HOST = "options.example"
ADDRESS = f"{HOST}:5443"
LOGIN = {"username": "user", "password": "the-password"}


@pytest.fixture(scope="module")
def private(tmp_path_factory):
    """A registry with users, and TLS by an authority that is not trusted yet."""
    registry = private_registry(tmp_path_factory.mktemp("private"), HOST, 5443)
    yield registry
    registry.stop()


@pytest.fixture
def pushed(dnf, private):
    dnf.repository().add(build("one")).createrepo().push(dnf.reference(private), options=private.login)
    return f"oci://{dnf.reference(private)}"


@pytest.fixture
def proxy(tmp_path):
    running = Proxy(tmp_path)
    yield running
    running.stop()


def command_lines():
    """The command lines of all processes."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                yield (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue


def test_username_password_and_authority(dnf, pushed, private, fetch):
    dnf.add("tools", pushed, sslcacert=private.certificate.authority, **LOGIN)
    dnf("repoquery").has("one-0:1-1.noarch")
    # An idle skopeo is still running.
    lines = list(command_lines())
    assert any("experimental-image-proxy" in line for line in lines)
    assert not any("the-password" in line for line in lines)


def test_certificates_where_tmp_is_read_only(dnf, pushed, private):
    dnf.backend("system")
    dnf.add("tools", pushed, sslcacert=private.certificate.authority, **LOGIN)
    lines = ["ReadWritePaths=", "ReadWritePaths=/var/cache", "Environment=TMPDIR=/run/dnf5-oci"]
    with unit("\n".join(["[Service]", *lines, ""])):
        dnf("repoquery").has("one-0:1-1.noarch")


def test_they_hold_for_this_repository_alone(dnf, pushed, private):
    dnf.add("tools", pushed, sslcacert=private.certificate.authority, **LOGIN)
    dnf.add("other", pushed, skip_if_unavailable=1)
    dnf("repoquery").has("one-0:1-1.noarch").has(f"repository other {pushed}: ").has("x509")
    dnf.add("other", pushed, sslcacert=private.certificate.authority, skip_if_unavailable=1)
    dnf("repoquery").has("one-0:1-1.noarch").has("authentication required").has("podman login")


def test_a_wrong_password_is_told_and_not_shown(dnf, pushed, private):
    dnf.add("tools", pushed, sslcacert=private.certificate.authority, username="user", password="wrong-one")
    result = dnf("repoquery", code=1)
    result.has(f"repository tools {pushed}: ")
    result.has("check the username and password in the repository's configuration")
    result.has_not("wrong-one").has_not("podman login")


def test_proxy(dnf, pushed, private, proxy):
    options = {"sslcacert": private.certificate.authority, "proxy": URL, "proxy_username": USER, **LOGIN}
    dnf.add("tools", pushed, proxy_password=PASSWORD, **options)
    dnf("repoquery").has("one-0:1-1.noarch")
    passed = proxy.count(ADDRESS)
    assert passed > 0
    dnf.add("direct", pushed, sslcacert=private.certificate.authority, **LOGIN)
    dnf("--repo=direct", "repoquery").has("one-0:1-1.noarch")
    assert proxy.count(ADDRESS) == passed

    dnf.add("tools", pushed, proxy_password="wrong-one", **options)
    result = dnf("--repo=tools", "--refresh", "repoquery", code=None)
    result.has(f"repository tools {pushed}: ").has("Proxy Authentication Required")
    result.has("check the network").has_not("wrong-one")


PROXY_WITH_PASSWORD = URL.replace("//", f"//{USER}:{PASSWORD}@")


@pytest.mark.parametrize("backend", ["system", "private"])
@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])
def test_the_callers_proxy_variables(dnf, pushed, private, proxy, name, backend):
    dnf.backend(backend)
    dnf.add("tools", pushed, sslcacert=private.certificate.authority, **LOGIN)
    stop_services()
    dnf("repoquery", env=os.environ | {name: PROXY_WITH_PASSWORD}).has("one-0:1-1.noarch")
    passed = proxy.count(ADDRESS)
    assert passed > 0
    # They hold for that run alone.
    dnf("--refresh", "repoquery").has("one-0:1-1.noarch")
    environment = os.environ | {name: PROXY_WITH_PASSWORD, "no_proxy": f"elsewhere.example,{HOST}"}
    dnf("--refresh", "repoquery", env=environment).has("one-0:1-1.noarch")
    assert proxy.count(ADDRESS) == passed


def test_the_repo_files_proxy_comes_before_the_callers(dnf, pushed, private, proxy):
    nowhere = os.environ | {"https_proxy": "http://localhost:1"}
    dnf.add("tools", pushed, sslcacert=private.certificate.authority, proxy=URL, proxy_username=USER,
            proxy_password=PASSWORD, **LOGIN)
    dnf("repoquery", env=nowhere).has("one-0:1-1.noarch")
    assert proxy.count(ADDRESS) > 0
    dnf.add("tools", pushed, sslcacert=private.certificate.authority, **LOGIN)
    dnf("--refresh", "repoquery", env=nowhere, code=1).has("dial tcp 127.0.0.1:1: connect: connection refused")


@pytest.mark.parametrize("none", ["_none_", ""], ids=["none", "empty"])
def test_no_proxy(dnf, pushed, private, proxy, none):
    dnf.add("tools", pushed, sslcacert=private.certificate.authority, proxy=none, **LOGIN)
    dnf("--setopt=proxy=http://localhost:1", "repoquery",
        env=os.environ | {"https_proxy": PROXY_WITH_PASSWORD}).has("one-0:1-1.noarch")
    assert proxy.count(ADDRESS) == 0


def test_the_doctor_goes_through_the_callers_proxy(dnf, pushed, private, proxy):
    environment = os.environ | {"https_proxy": PROXY_WITH_PASSWORD}
    result = run("dnf5-oci", "doctor", "--tls-verify=false", pushed, code=1, env=environment)
    result.has("through the proxy in $HTTPS_PROXY").has_not(PASSWORD)
    assert proxy.count(ADDRESS) > 0


def test_one_file_with_certificate_and_key(dnf, clients, tmp_path):
    registry, client = clients
    both = tmp_path / "both.pem"
    both.write_bytes(client.certificate.read_bytes() + client.key.read_bytes())
    dnf.repository().add(build("one")).createrepo().push(dnf.reference(registry), options=registry.login)
    dnf.add("tools", f"oci://{dnf.reference(registry)}", sslcacert=registry.certificate.authority,
            sslclientcert=both)
    dnf("repoquery").has("one-0:1-1.noarch")


@pytest.fixture(scope="module")
def clients(tmp_path_factory):
    """A registry that asks for a client certificate, and one that it accepts."""
    directory = tmp_path_factory.mktemp("clients")
    client = Certificate(directory / "client", "client")
    with open("/etc/hosts", "a", encoding="utf-8") as hosts:
        hosts.write("127.0.0.1 clients.example\n")
    server = Certificate(directory / "tls", "clients.example")
    registry = Registry(directory, 5444, server, clients=client.authority).start()
    registry.address = "clients.example:5444"
    registry.certificate = server
    registry.login = ["tls", "--ca-file", server.authority, "--cert-file", client.certificate,
                      "--key-file", client.key]
    yield registry, client
    registry.stop()


@pytest.mark.parametrize("backend", ["system", "private"])
@pytest.mark.parametrize("option", ["baseurl", "username", "password", "proxy_password"])
def test_what_is_no_text_is_told_and_not_shown(dnf, registry, backend, option):
    dnf.backend(backend)
    reference = dnf.reference(registry)
    dnf.repository().add(build("one")).createrepo().push(reference)
    dnf.add("tools", f"oci://{reference}", username="user", password="s3cret-one", skip_if_unavailable=1)
    file = Path("/etc/yum.repos.d/tools.repo")
    lines = [line for line in file.read_bytes().splitlines() if not line.startswith(option.encode() + b"=")]
    value = f"oci://{reference}".encode() if option == "baseurl" else b"s3cret"
    file.write_bytes(b"\n".join([*lines, option.encode() + b"=" + value + b"\xff\xfe"]) + b"\n")
    result = dnf("repoquery", errors="replace", code=None)
    result.has(f"repository tools: option {option} is not valid UTF-8; correct it")
    result.has_not("s3cret").has_not("serialize")
    # Only what needs the repository is affected.
    dnf("list", "--installed", errors="replace")


@pytest.mark.parametrize("scheme", ["OCI", "Oci"])
def test_a_scheme_in_upper_case(dnf, registry, scheme, fetch):
    reference = dnf.reference(registry)
    dnf.repository().add(build("one")).createrepo().push(reference)
    dnf.add("tools", f"{scheme}://{reference}")
    dnf("repoquery").has("one-0:1-1.noarch")
    run("dnf5-oci", "doctor", f"{scheme}://{reference}")


@pytest.mark.parametrize("backend", ["system", "private"])
@pytest.mark.parametrize("credentials", [
    "user:s3cret", "s3cret", "user:s3/cret@x", "user%3As3cret%40x", "user:%733cret"])
def test_credentials_in_baseurl_are_shown_nowhere(dnf, registry, tmp_path, backend, credentials):
    dnf.backend(backend)
    dnf.add("tools", f"oci://{credentials}@{registry.address}/acme/rpms:stable", skip_if_unavailable=1)
    with service_as_systemd_runs_it(tmp_path / "log", DNF5_OCI_LOG="trace"):
        outputs = [dnf(*arguments, code=None).output for arguments in (
            ["repoquery"], ["makecache"], ["repo", "list"], ["-v", "repo", "info"], ["download", "one"])]
        outputs.append(run("dnf5-oci", "doctor", f"oci://{credentials}@{registry.address}/a/b", code=2).output)
    assert "podman login" in outputs[0]
    outputs += [(tmp_path / "log").read_text(), Path("/var/log/dnf5.log").read_text()]
    outputs += [str(path) for path in Path("/var/cache/libdnf5").rglob("*")]
    for output in outputs:
        assert "3cret" not in output and "s3/c" not in output and "cret@" not in output, output


def test_no_log_shows_a_password(dnf, pushed, private, proxy, service):
    """The service of the tests logs at the level debug."""
    service.clear()
    dnf.add("tools", pushed, sslcacert=private.certificate.authority, proxy=URL, proxy_username=USER,
            proxy_password=PASSWORD, **LOGIN)
    dnf("repoquery").has("one-0:1-1.noarch")
    assert "repodata/repomd.xml" in service.requested()
    for secret in (PASSWORD, LOGIN["password"]):
        # In a URL the service encodes all that is not a letter or a digit.
        for form in (secret, secret.replace("-", "%2D")):
            assert form not in service.new()


def test_what_has_no_effect_is_told_once(dnf, pushed, private):
    dnf.add("tools", pushed, sslcacert=private.certificate.authority, ip_resolve="4", proxy_sslverify=0, **LOGIN)
    line = (f"repository tools {pushed}: ip_resolve, proxy_sslverify in its configuration has no "
            "effect: skopeo has no such setting")
    result = dnf("repoquery").has("one-0:1-1.noarch").has(line)
    assert result.output.count("has no effect") == 1, result
    result.has_not("???")
    dnf("repoquery").has("one-0:1-1.noarch").has_not("has no effect")
    dnf("repo", "list").has_not("has no effect")


def test_what_is_dnf5s_own_business_stays_so(dnf, pushed, private):
    dnf.add("tools", pushed, sslcacert=private.certificate.authority, excludepkgs="one", priority=7, cost=77,
            max_parallel_downloads=2, throttle="10M", timeout=9, **LOGIN)
    dnf("repoquery").has_not("one-0:1-1.noarch")
    dnf("--setopt=disable_excludes=*", "repoquery").has("one-0:1-1.noarch")
    dnf("repo", "info", "tools").has("77").has("7")
