"""Credentials, certificates and mirrors are podman's."""

from pathlib import Path

import pytest

from conftest import CONTAINERS
from harness.commands import run
from harness.registry import Certificate, Registry
from harness.repository import build

pytestmark = pytest.mark.usefixtures("eager")

HOST = "registry.example"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A registry with TLS from a private CA and a user."""
    with open("/etc/hosts", "a", encoding="utf-8") as hosts:
        hosts.write(f"127.0.0.1 {HOST}\n")
    directory = tmp_path_factory.mktemp("guarded")
    certificate = Certificate(directory / "tls", HOST)
    registry = Registry(directory, 443, certificate, {"user": "the-password"}).start()
    registry.address = HOST
    certificate.trust(HOST)
    registry.authority = certificate.authority
    yield registry
    registry.stop()


@pytest.fixture
def pushed(dnf, guarded):
    dnf.repository().add(build("one")).describe().push(
        dnf.reference(guarded),
        options=["tls", "--ca-file", guarded.authority, "--username", "user", "--password",
                 "the-password"],
    )
    dnf.add("tools", f"oci://{dnf.reference(guarded)}")
    return guarded


def test_without_credentials(dnf, pushed):
    result = dnf("repoquery", code=1)
    result.has(f"repository tools oci://{dnf.reference(pushed)}: ").has("authentication required")
    result.has(f'"podman login {HOST}"').has("/run/containers/0/auth.json")
    result.has("/root/.config/containers/auth.json").has("/etc/dnf5-oci/auth.json")
    assert result.output.count("authentication required") == 1, result


@pytest.mark.parametrize("backend", ["system", "private"])
def test_logged_in_as_podman_does(dnf, pushed, backend):
    dnf.backend(backend)
    run("skopeo", "login", "--username", "user", "--password", "the-password", HOST)
    try:
        result = dnf("repoquery").has("one-0:1-1.noarch")
        result.has_not("the-password")
    finally:
        run("skopeo", "logout", HOST)
    dnf("--refresh", "repoquery").has("authentication required")


def test_the_systems_own_auth_file(dnf, pushed):
    Path("/etc/dnf5-oci").mkdir(exist_ok=True)
    auth = Path("/etc/dnf5-oci/auth.json")
    run("skopeo", "login", "--authfile", auth, "--username", "user", "--password", "the-password",
        HOST)
    try:
        dnf("repoquery").has("one-0:1-1.noarch")
    finally:
        auth.unlink()


def test_secrets_are_not_shown(dnf, pushed):
    auth = Path("/run/containers/0/auth.json")
    auth.parent.mkdir(parents=True, exist_ok=True)
    auth.write_text('{"auths": {"%s": {"auth": "dXNlcjp3cm9uZy1wYXNzd29yZA=="}}}' % HOST)
    try:
        result = dnf("repoquery", code=1)
        result.has("login").has_not("wrong-password").has_not("dXNlcjp3")
    finally:
        auth.unlink()


def test_an_unknown_certificate(dnf, pushed):
    directory = CONTAINERS / "certs.d" / HOST
    aside = directory.with_name("aside")
    directory.rename(aside)
    run("skopeo", "login", "--tls-verify=false", "--username", "user", "--password",
        "the-password", HOST)
    try:
        dnf("repoquery", code=1).has("x509")
        dnf.add("tools", f"oci://{dnf.reference(pushed)}", sslverify=0)
        dnf("repoquery").has("one-0:1-1.noarch")
    finally:
        run("skopeo", "logout", HOST)
        aside.rename(directory)


def test_a_mirror_serves_a_host_that_does_not_exist(dnf, registry):
    dnf.repository().add(build("one")).describe().push(dnf.reference(registry))
    conf = CONTAINERS / "registries.conf.d" / "mirror.conf"
    conf.write_text(
        '[[registry]]\nlocation = "gone.example/acme"\n'
        f'[[registry.mirror]]\nlocation = "{registry.address}/acme"\ninsecure = true\n'
    )
    try:
        dnf.add("tools", f"oci://gone.example/acme/{dnf.name}:stable")
        registry.clear()
        dnf("repoquery").has("one-0:1-1.noarch")
        assert registry.manifests()
    finally:
        conf.unlink()


def test_a_change_of_registries_conf_is_seen(dnf, registry):
    dnf.repository().add(build("one")).describe().push(dnf.reference(registry))
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    dnf("repoquery")
    conf = CONTAINERS / "registries.conf.d" / "blocked.conf"
    conf.write_text(f'[[registry]]\nlocation = "{registry.address}/acme/{dnf.name}"\nblocked = true\n')
    try:
        registry.clear()
        dnf("--refresh", "repoquery").has("is blocked in").has("one-0:1-1.noarch")
        assert registry.requests() == []
    finally:
        conf.unlink()
    dnf("--refresh", "repoquery").has_not("is blocked in")
