"""TLS certificates are found where podman finds them."""

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from harness import podman
from harness.commands import run
from harness.registry import Certificate, Registry
from harness.repository import Repository, build
from harness.service import call, service_as_systemd_runs_it

HOST = "registry.example"
MUTUAL = f"{HOST}:5444"

# podman's search order. The first directory for a host counts, whatever is in it.
PLACES = [Path(place) for place in (
    "/root/.config/containers/certs.d", "/etc/containers/certs.d", "/etc/docker/certs.d")]
UNKNOWN = "x509: certificate signed by unknown authority"


class PrivateRegistry:
    """A registry with TLS from a private authority, and a repository in it."""

    def __init__(self, directory, address, port, **options):
        self.certificate = Certificate(directory / "tls", HOST)
        self.registry = Registry(directory, port, self.certificate, **options)
        self.address = address
        self.reference = f"{address}/acme/rpms:stable"

    def start(self):
        self.registry.start()
        return self

    def trust(self, place):
        """Makes its authority the only certificate in a directory."""
        directory = place / self.address
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        shutil.copy(self.certificate.authority, directory / "ca.crt")
        return directory


def push(private_registry, directory, *options):
    repository = Repository(directory / "repository").add(build("one")).createrepo()
    authority = ["--ca-file", private_registry.certificate.authority]
    repository.push(private_registry.reference, options=["tls", *authority, *options])


@pytest.fixture(scope="module")
def hosts():
    with open("/etc/hosts", "a", encoding="utf-8") as file:
        file.write(f"127.0.0.1 {HOST}\n")


@pytest.fixture(scope="module")
def private_registry(tmp_path_factory, hosts):
    directory = tmp_path_factory.mktemp("private")
    running = PrivateRegistry(directory, HOST, 443).start()
    push(running, directory)
    yield running
    running.registry.stop()


@pytest.fixture(scope="module")
def mutual(tmp_path_factory, hosts):
    """A registry that requires client certificates."""
    directory = tmp_path_factory.mktemp("mutual")
    client = Certificate(directory / "client", "client")
    running = PrivateRegistry(directory, MUTUAL, 5444, clients=client.authority).start()
    running.client = client
    push(running, directory, "--cert-file", client.certificate, "--key-file", client.key)
    yield running
    running.registry.stop()


@pytest.fixture(autouse=True)
def no_certificates():
    """Removes the certificates of other tests."""
    yield
    for place in PLACES:
        shutil.rmtree(place, ignore_errors=True)


def ask(dnf, reference, **how):
    """Runs dnf5 with an empty cache."""
    dnf.clear_cache()
    dnf.add("tools", f"oci://{reference}")
    return dnf("repoquery", **how)


def same(dnf, reference, **how):
    """Asserts that dnf5 succeeds if podman does, or fails with podman's message; returns that."""
    words = podman.refusal(reference, **how)
    if words:
        ask(dnf, reference, code=1, **how).tells(words)
    else:
        ask(dnf, reference, **how).has("one-0:1-1.noarch")
    return words


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_each_change_of_an_authority_holds_from_the_next_request_on(dnf, private_registry, tmp_path, place):
    with service_as_systemd_runs_it(tmp_path / "log"):
        assert UNKNOWN in same(dnf, private_registry.reference)
        directory = private_registry.trust(place)
        assert same(dnf, private_registry.reference) == ""
        other = Certificate(tmp_path / "other", HOST)
        shutil.copy(other.authority, directory / "ca.crt")
        assert UNKNOWN in same(dnf, private_registry.reference)
        private_registry.trust(place)
        assert same(dnf, private_registry.reference) == ""
        shutil.rmtree(directory)
        assert UNKNOWN in same(dnf, private_registry.reference)


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_no_image_that_was_opened_before_a_change_is_used(dnf, private_registry, tmp_path, place):
    package = build("one")
    digest = hashlib.sha256(package.read_bytes()).hexdigest()
    reference, directory = f"oci://{private_registry.reference}", dnf.tmp_path / "cache"

    def fetch(code=0):
        shutil.rmtree(directory / "packages", ignore_errors=True)
        return call("FetchPackage", "sssssta{sv}", "tools", reference, directory, package.name,
                    f"sha256:{digest}", package.stat().st_size, "0", code=code)

    with service_as_systemd_runs_it(tmp_path / "log"):
        trusted = private_registry.trust(place)
        call("PrefetchRepodata", "sssa{sv}", "tools", reference, directory, "0")
        fetch()
        # The manifest and the open image are cached.
        private_registry.registry.clear()
        fetch()
        assert private_registry.registry.manifests() == []
        shutil.rmtree(trusted)
        fetch(code=1).tells(UNKNOWN)


def test_the_first_directory_for_the_host_counts(dnf, private_registry):
    advice = f"; put certificates for {HOST} into {PLACES[1] / HOST}; see"
    ask(dnf, private_registry.reference, code=1).has(advice)
    private_registry.trust(PLACES[2])
    assert same(dnf, private_registry.reference) == ""
    for place in reversed(PLACES[:2]):
        # It is empty, but ends the search.
        (place / HOST).mkdir(parents=True)
        assert UNKNOWN in same(dnf, private_registry.reference)
        advice = f"; put certificates for {HOST} into {place / HOST}; see"
        ask(dnf, private_registry.reference, code=1).has(advice)
        private_registry.trust(place)
        assert same(dnf, private_registry.reference) == ""
        result = run("dnf5-oci", "doctor", f"oci://{private_registry.reference}")
        result.has(f"certificates from {place / HOST}\n")


@pytest.mark.parametrize("backend", ["system", "private"])
def test_a_users_own_are_below_the_home_whatever_the_variable_says(dnf, private_registry, backend):
    dnf.backend(backend)
    private_registry.trust(PLACES[0])
    variables = {"PATH": os.environ["PATH"], "XDG_CONFIG_HOME": "/tmp/elsewhere"}
    assert same(dnf, private_registry.reference, env=variables) == ""


def test_the_port_is_part_of_the_host(dnf, mutual):
    directory = mutual.trust(PLACES[1])
    directory.rename(directory.with_name(HOST))
    assert UNKNOWN in same(dnf, MUTUAL + "/acme/rpms:stable")


def refused(dnf, reference, words):
    """The registry itself refuses both. Go may notice that while it reads or while it writes, and has
    another message in each case."""
    assert words in podman.refusal(reference)
    ask(dnf, reference, code=1).tells(words)


def test_certificates_of_clients(dnf, mutual, tmp_path):
    with service_as_systemd_runs_it(tmp_path / "log"):
        directory = mutual.trust(PLACES[1])
        refused(dnf, mutual.reference, "remote error: tls: certificate required")
        shutil.copy(mutual.client.certificate, directory / "client.cert")
        assert "missing key client.key" in same(dnf, mutual.reference)
        shutil.copy(mutual.client.key, directory / "client.key")
        assert same(dnf, mutual.reference) == ""
        stranger = Certificate(tmp_path / "stranger", "client")
        shutil.copy(stranger.certificate, directory / "client.cert")
        assert "private key does not match" in same(dnf, mutual.reference)
        shutil.copy(stranger.key, directory / "client.key")
        refused(dnf, mutual.reference, "remote error: tls: unknown certificate authority")


def test_sslverify_is_for_one_repository_alone(dnf, private_registry):
    dnf.add("checked", f"oci://{private_registry.reference}", skip_if_unavailable=1)
    dnf.add("unchecked", f"oci://{private_registry.reference}", sslverify=0)
    for arguments in ([], ["--refresh"]):
        # One after the other and both together, where processes and their answers are cached.
        dnf("--repo=unchecked", *arguments, "repoquery").has("one-0:1-1.noarch")
        result = dnf("--repo=checked", *arguments, "repoquery")
        result.has(f"repository checked oci://{private_registry.reference}: ").tells(UNKNOWN)
        result.has_not("one-0:1-1.noarch")
        result = dnf(*arguments, "repoquery", "--queryformat=%{repoid} %{name}\\n")
        result.tells(UNKNOWN).has("unchecked one\n").has_not("\nchecked one")
        result.has_not("repository unchecked")
    dnf.add("checked", f"oci://{private_registry.reference}", sslverify=1)
    dnf("--repo=checked", "repoquery", code=1).tells(UNKNOWN)


def test_without_sslverify_plain_http_will_do(dnf, registry):
    # podman's own configuration allows this; sslverify=1 must not.
    conf = Path("/etc/containers/registries.conf.d/localhost-5000.conf")
    allowed = conf.read_text()
    dnf.repository().add(build("one")).createrepo().push(dnf.reference(registry))
    conf.unlink()
    try:
        assert "HTTP response to HTTPS client" in same(dnf, dnf.reference(registry))
        dnf.add("tools", f"oci://{dnf.reference(registry)}", sslverify=0)
        dnf("repoquery").has("one-0:1-1.noarch")
    finally:
        conf.write_text(allowed)
