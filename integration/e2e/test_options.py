"""dnf's options of a repository keep their meaning, although skopeo makes the connections."""

import os
from pathlib import Path

import pytest

from harness.proxy import PASSWORD, URL, USER, Proxy
from harness.registry import private_registry
from harness.repository import build

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
