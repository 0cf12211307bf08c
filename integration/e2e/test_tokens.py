"""Registries with token authentication, by a separate token server."""

import base64
import json
from pathlib import Path

import pytest

from conftest import insecure
from harness import podman
from harness.registry import Registry
from harness.relay import Relay
from harness.repository import build
from harness.service import service_as_systemd_runs_it
from harness.tokens import TokenServer

USUAL = Path("/run/containers/0/auth.json")
REFRESH = "the-refresh-token"
DENIED = "requested access to the resource is denied"


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    server = TokenServer(tmp_path_factory.mktemp("tokens"), 5003, {"user": "the-password"})
    yield server
    server.stop()


@pytest.fixture(scope="module")
def registry(tmp_path_factory, tokens):
    directory = tmp_path_factory.mktemp("registry")
    running = Registry(directory, 5002, authentication=tokens.authentication()).start()
    insecure(running.address)
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def as_before(tokens):
    """Removes the credentials of other tests, and resets the token server."""
    yield
    USUAL.unlink(missing_ok=True)
    tokens.public.clear()
    tokens.refresh.clear()
    tokens.requested.clear()
    tokens.lifetime = 300


@pytest.fixture
def pushed(dnf, registry):
    reference = dnf.reference(registry)
    push(dnf.repository().add(build("one")).createrepo(), reference)
    dnf.add("tools", f"oci://{reference}")
    return reference


def push(repository, reference):
    repository.push(reference, options=["--username", "user", "--password", "the-password"])


def write(**auths):
    USUAL.parent.mkdir(parents=True, exist_ok=True)
    USUAL.write_text(json.dumps({"auths": auths}))
    USUAL.chmod(0o600)


def password(text):
    return {"auth": base64.b64encode(f"user:{text}".encode()).decode()}


def identity(token):
    return {"auth": base64.b64encode(b"<token>:").decode(), "identitytoken": token}


def same(dnf, reference):
    """Asserts that dnf5 succeeds if podman does, or fails with podman's message; returns that."""
    dnf.clear_cache()
    words = podman.refusal(reference)
    if words:
        dnf("repoquery", code=1).tells(words)
    else:
        dnf("repoquery").has("one-0:1-1.noarch")
    return words


def test_a_password_buys_a_token(dnf, tokens, registry, pushed):
    assert DENIED in same(dnf, pushed)
    write(**{registry.address: password("the-password")})
    tokens.requested.clear()
    assert same(dnf, pushed) == ""
    scope = [f"repository:acme/{dnf.name}:pull"]
    assert {(method, user) for method, user, _ in tokens.requested} == {("GET", "user")}
    assert all(scopes == scope for _, _, scopes in tokens.requested), tokens.requested
    write(**{registry.address: password("wrong-password")})
    assert "invalid username/password" in same(dnf, pushed)


def test_anybody_may_pull_what_is_public(dnf, tokens, registry, pushed):
    tokens.public.add(f"acme/{dnf.name}")
    for others in ({}, {"elsewhere.example": password("x")},
                   {f"{registry.address}/other": password("x")}, {registry.address: {}}):
        write(**others)
        tokens.requested.clear()
        assert same(dnf, pushed) == ""
        assert {user for _, user, _ in tokens.requested} == {None}
    # Wrong credentials are not retried anonymously.
    write(**{registry.address: password("wrong-password")})
    assert "invalid username/password" in same(dnf, pushed)


def test_an_identity_token_buys_a_token(dnf, tokens, registry, pushed):
    tokens.refresh[REFRESH] = "user"
    write(**{registry.address: identity(REFRESH)})
    tokens.requested.clear()
    assert same(dnf, pushed) == ""
    assert {(method, user) for method, user, _ in tokens.requested} == {("POST", "user")}
    del tokens.refresh[REFRESH]
    assert "invalid username/password" in same(dnf, pushed)
    dnf("repoquery", code=1).has_not(REFRESH)


def test_tokens_expire_in_the_middle(dnf, tokens, registry, tmp_path):
    relay = Relay(5004, 5002, rate=200_000)
    address = "localhost:5004"
    insecure(address)
    repository = dnf.repository()
    names = [f"large{number}" for number in range(12)]
    for name in names:
        repository.add(build(name, size=100_000))
    reference = f"acme/{dnf.name}:stable"
    push(repository.createrepo(), f"{registry.address}/{reference}")
    write(**{address: password("the-password")})
    dnf.add("tools", f"oci://{address}/{reference}")
    tokens.lifetime = 3
    registry.clear()
    log = tmp_path / "log"
    # One at a time, so by one process, whose token expires before half of them.
    one_by_one = "--setopt=max_parallel_downloads=1"
    with service_as_systemd_runs_it(log, DNF5_OCI_LOG="trace"):
        dnf("download", one_by_one, "--destdir", tmp_path, *names)
    assert len(list(tmp_path.glob("large*.rpm"))) == len(names)
    refused = [path for _, path, status in registry.requests("/blobs/") if status == 401]
    assert refused, "no token has expired on the way"
    assert relay.passed > 1_200_000
    assert "opening the image again" in log.read_text()
    assert not [token for token in tokens.given if token in log.read_text()]
