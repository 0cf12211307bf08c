"""`dnf5-oci doctor` reports step by step what dnf5 would encounter."""

import json
import os
import re
import shutil
import tempfile
from pathlib import Path

import pytest

from conftest import CACHE, CONTAINERS, insecure
from harness import signing
from harness.commands import run
from harness.registry import Certificate, Registry
from harness.repository import build

STEPS = ["skopeo", "registries.conf", "registry", "credentials", "manifest", "policy", "layout",
         "repodata", "download", "cache"]
NOBODY = 65534
AUTH = Path("/run/containers/0/auth.json")


class Diagnosis:
    """The output of the doctor."""

    def __init__(self, result):
        self.result = result
        *lines, self.last = result.output.splitlines()
        found = [re.fullmatch(r"(\S+) +(ok|warning|failed|skipped) +(\S.*)", line) for line in lines]
        assert all(found), str(result)
        self.verdicts = {line[1]: line[2] for line in found}
        self.texts = {line[1]: line[3] for line in found}
        assert list(self.verdicts) == STEPS, str(result)

    def only(self, **verdicts):
        """Asserts these verdicts, and that all others are ok."""
        wanted = dict.fromkeys(STEPS, "ok")
        wanted |= {step.replace("_", "."): verdict for step, verdict in verdicts.items()}
        assert self.verdicts == wanted, str(self.result)
        return self

    def says(self, step, *parts):
        for part in parts:
            assert part in self.texts[step], f"{part!r} is not in {step} of:\n{self.result}"
        return self


@pytest.fixture(params=["system", "private"])
def doctor(request):
    """Asks the service on the system bus or, without a bus, a private instance."""
    environment = os.environ.copy()
    if request.param == "private":
        environment["DBUS_SYSTEM_BUS_ADDRESS"] = "unix:path=/nonexistent"

    def examine(reference, *options, code=0):
        before = files()
        result = run("dnf5-oci", "doctor", *options, reference, code=code, env=environment)
        assert files() == before, "it leaves nothing behind"
        diagnosis = Diagnosis(result)
        who = {"system": "The system service", "private": "A private instance"}[request.param]
        can = "can" if code == 0 else "cannot"
        assert diagnosis.last == f"{who} {can} serve {reference} to dnf5."
        return diagnosis

    return examine


def files():
    """The files in DNF's cache and in the temporary directories."""
    temporary = [path for path in Path("/tmp").iterdir() if path.name.startswith(".tmp")]
    return sorted(CACHE.rglob("*")), temporary


@pytest.fixture
def pushed(dnf, registry):
    """The baseurl of a repository with two packages."""
    repository = dnf.repository().add(build("one")).add(build("two", size=100_000)).createrepo()
    repository.digest = repository.push(dnf.reference(registry))
    repository.baseurl = f"oci://{dnf.reference(registry)}"
    return repository


def test_all_is_good(doctor, dnf, registry, pushed):
    found = doctor(pushed.baseurl).only()
    found.says("skopeo", "version 1.")
    found.says("registries.conf", "/etc/containers/registries.conf.d/localhost-5000.conf: "
               "localhost:5000 (insecure)")
    found.says("registry", "localhost:5000 answers")
    found.says("credentials", "no auth file has an entry for localhost:5000")
    found.says("manifest", pushed.digest, "application/vnd.oci.image.manifest.v1+json, 3 layers")
    found.says("policy", "/etc/containers/policy.json, default: accepts anything")
    found.says("layout", "metadata in one tar layer, 2 packages")
    listed = len(list((pushed.directory / "repodata").iterdir())) - 1
    found.says("repodata", f"repomd.xml and all {listed} files it lists")
    size = build("one").stat().st_size
    found.says("download", f'"one-1-1.noarch.rpm": {size} bytes in ')
    found.says("cache", "nothing yet; it will be /var/cache/libdnf5/REPOSITORY-")

    dnf.add("tools", pushed.baseurl)
    dnf("repoquery").has("one-0:1-1.noarch")
    doctor(pushed.baseurl).only().says("cache", f"{dnf.cache('tools')} with metadata, 0 packages")


def test_the_cache_of_a_dnf5_that_fetches_beforehand(doctor, eager, dnf, pushed):
    dnf.add("tools", pushed.baseurl)
    dnf("repoquery").has("one-0:1-1.noarch")
    doctor(pushed.baseurl).only().says("cache", f"{dnf.cache('tools')} with metadata, 0 packages")


@pytest.fixture
def home():
    """The home directory of the user nobody."""
    directory = Path(tempfile.mkdtemp(prefix="home-of-nobody-"))
    yield directory
    shutil.rmtree(directory)


def test_as_an_ordinary_user(pushed, home):
    home.chmod(0o555)
    command = ["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups",
               "dnf5-oci", "doctor", pushed.baseurl]
    environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
    found = Diagnosis(run(*command, code=1, env=environment)).only(cache="failed")
    found.says("cache", f"{home} cannot be written")
    os.chown(home, NOBODY, NOBODY)
    home.chmod(0o700)
    found = Diagnosis(run(*command, env=environment)).only()
    found.says("cache", f"{home}/.cache/libdnf5/REPOSITORY-")
    assert found.last == f"A private instance can serve {pushed.baseurl} to dnf5."
    home.chmod(0)
    found = Diagnosis(run(*command, code=1, env=environment))
    assert found.verdicts["registries.conf"] == "failed", str(found.result)
    found.says("registries.conf", f"{home}/.config/containers/registries.conf", "ermission denied")


def test_no_skopeo(doctor, pushed):
    skopeo = Path("/usr/bin/skopeo")
    aside = skopeo.rename("/usr/bin/skopeo-aside")
    try:
        rest = {step.replace(".", "_"): "skipped" for step in STEPS[1:-1]}
        found = doctor(pushed.baseurl, code=1).only(skopeo="failed", **rest)
        found.says("skopeo", "skopeo cannot be run: ", "; install skopeo")
        found.says("policy", "not tried; /etc/containers/policy.json, default")
    finally:
        aside.rename(skopeo)


def test_a_skopeo_that_is_too_old(doctor, pushed):
    skopeo = Path("/usr/bin/skopeo")
    aside = skopeo.rename("/usr/bin/skopeo-aside")
    skopeo.write_text(OLD_SKOPEO)
    skopeo.chmod(0o755)
    try:
        found = doctor(pushed.baseurl, code=1)
        assert found.verdicts["skopeo"] == "failed", str(found.result)
        found.says("skopeo", "version 1.9.3; ", "; install skopeo 1.18 or newer")
    finally:
        aside.rename(skopeo)


# Answers like skopeo 1.9.
OLD_SKOPEO = """#!/usr/bin/python3
import json, socket, sys
if "--version" in sys.argv:
    print("skopeo version 1.9.3")
else:
    proxy = socket.socket(fileno=sys.stdin.fileno())
    proxy.recv(65536)
    proxy.send(json.dumps({"success": True, "value": "0.2.3", "pipeid": 0, "error": ""}).encode())
    proxy.recv(65536)
"""


def test_a_dead_registry(doctor):
    found = doctor("oci://localhost:5999/acme/rpms:stable", code=1).only(
        registry="failed", credentials="skipped", manifest="skipped", policy="skipped",
        layout="skipped", repodata="skipped", download="skipped")
    found.says("registries.conf", "no entry for localhost:5999")
    found.says("registry", "connection refused", "check the network")


def test_a_registry_without_tls(doctor, registry, pushed):
    conf = CONTAINERS / "registries.conf.d" / "localhost-5000.conf"
    text = conf.read_text()
    conf.unlink()
    try:
        found = doctor(pushed.baseurl, code=1)
        assert found.verdicts["registry"] == "failed", str(found.result)
        found.says("registry", "server gave HTTP response to HTTPS client", "; it has no TLS: set "
                   "insecure = true")
        found = doctor(pushed.baseurl, "--tls-verify=false").only()
        found.says("registry", "localhost:5000 answers; TLS is not verified, as asked for")
    finally:
        conf.write_text(text)


def test_an_unknown_authority(doctor, tmp_path):
    certificate = Certificate(tmp_path / "tls", "localhost")
    running = Registry(tmp_path / "registry", 5003, certificate).start()
    try:
        found = doctor("oci://localhost:5003/acme/rpms:1", code=1)
        assert found.verdicts["registry"] == "failed", str(found.result)
        found.says("registry", "x509: certificate signed by unknown authority",
                   "; put certificates for localhost:5003 into "
                   "/etc/containers/certs.d/localhost:5003; see containers-certs.d(5)")
    finally:
        running.stop()


@pytest.fixture(scope="module")
def private_registry(tmp_path_factory):
    """A registry with a user."""
    running = Registry(tmp_path_factory.mktemp("private"), 5002, None, {"user": "the-password"})
    insecure(running.start().address)
    yield running
    running.stop()


def test_credentials(doctor, dnf, private_registry):
    login = ["--username", "user", "--password", "the-password"]
    dnf.repository().add(build("one")).createrepo().push(dnf.reference(private_registry), options=login)
    baseurl = f"oci://{dnf.reference(private_registry)}"
    found = doctor(baseurl, code=1).only(
        credentials="failed", manifest="skipped", policy="skipped", layout="skipped",
        repodata="skipped", download="skipped")
    found.says("credentials", "no auth file has an entry for localhost:5002", "authentication required",
               'run "podman login localhost:5002"', "/etc/dnf5-oci/auth.json")
    run("skopeo", "login", "--tls-verify=false", *login, "localhost:5002")
    try:
        doctor(baseurl).only().says("credentials", f"{AUTH} has an entry for localhost:5002")
        AUTH.chmod(0o644)
        found = doctor(baseurl).only(credentials="warning")
        found.says("credentials", f'others can read {AUTH}; run "chmod 600 {AUTH}"')
        AUTH.write_text(AUTH.read_text().replace("dXNlcjp0aGUtcGFzc3dvcmQ=", "dXNlcjp3cm9uZw=="))
        found = doctor(baseurl, code=1)
        assert found.verdicts["credentials"] == "failed", str(found.result)
        found.says("credentials", f"{AUTH} has an entry for localhost:5002", "podman login")
        found.result.has_not("dXNlcjp3cm9uZw").has_not("wrong\n")
    finally:
        AUTH.unlink()


def test_the_policy(doctor, dnf, registry, pushed):
    scope = signing.scope(dnf.reference(registry))
    with signing.temporary_policy({scope: signing.NOTHING}):
        found = doctor(pushed.baseurl, code=1).only(
            policy="failed", layout="skipped", repodata="skipped", download="skipped")
    found.says("policy", f'policy.json, scope "{scope}": rejects everything', "rejected by policy",
               "containers-policy.json(5)")


def test_a_missing_signature(doctor, dnf, registry, pushed):
    required = {"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/etc/pki/acme.gpg"}
    with signing.temporary_policy({f"{registry.address}/acme": required}):
        found = doctor(pushed.baseurl, code=1).only(
            policy="failed", layout="skipped", repodata="skipped", download="skipped")
    found.says("manifest", "it is there")
    found.says("policy", "A signature was required, but no signature exists; "
               f'{signing.POLICY}, scope "{registry.address}/acme": requires a GPG signature by '
               "/etc/pki/acme.gpg; sign it, or change the policy; put", "containers-registries.d(5)")
    assert found.texts["policy"].count("requires") == 1


def test_a_damaged_policy(doctor, pushed):
    with signing.temporary_policy({}):
        signing.POLICY.write_text("{")
        found = doctor(pushed.baseurl, code=1).only(
            registry="skipped", credentials="skipped", manifest="skipped", policy="failed",
            layout="skipped", repodata="skipped", download="skipped")
    found.says("policy", f'invalid policy in "{signing.POLICY}"', "; see containers-policy.json(5)")


def test_a_mirror_and_a_blocked_registry(doctor, dnf, registry, pushed):
    conf = CONTAINERS / "registries.conf.d" / "doctor.conf"
    mirror = f'[[registry.mirror]]\nlocation = "{registry.address}"\ninsecure = true\n'
    conf.write_text(f'[[registry]]\nprefix = "gone.example"\nlocation = "gone.example"\n{mirror}')
    baseurl = pushed.baseurl.replace(registry.address, "gone.example")
    try:
        found = doctor(baseurl).only()
        found.says("registries.conf", f"{conf}: gone.example; mirrors tried first: localhost:5000 (insecure)")
        conf.write_text('[[registry]]\nlocation = "gone.example"\nblocked = true\n')
        found = doctor(baseurl, code=1)
        assert found.verdicts["registries.conf"] == "failed", str(found.result)
        found.says("registries.conf", f"{conf}: gone.example is blocked", "is blocked in")
        conf.write_text('[[registry]]\nlocation = 1\n')
        found = doctor(baseurl, code=1)
        assert found.verdicts["registries.conf"] == "failed", str(found.result)
        found.says("registries.conf", f"{conf}: line 2: ")
    finally:
        conf.unlink()


def test_nothing_there(doctor, registry):
    found = doctor(f"oci://{registry.address}/acme/nothing:1", code=1).only(
        manifest="failed", policy="skipped", layout="skipped", repodata="skipped", download="skipped")
    found.says("manifest", "manifest unknown", "check the reference's spelling and tag")


def test_no_repodata(doctor, dnf, registry):
    repository = dnf.repository().add(build("one")).createrepo()
    repository.push(dnf.reference(registry), "one-1-1.noarch.rpm")
    found = doctor(f"oci://{dnf.reference(registry)}", code=1).only(
        layout="failed", repodata="skipped", download="skipped")
    found.says("layout", 'has no repodata', '"one-1-1.noarch.rpm"', "push it again")


@pytest.mark.parametrize("title, step, verdicts", [
    # The metadata says which package is the smallest.
    ("repodata", "repodata", {"repodata": "failed", "download": "skipped"}),
    ("one-1-1.noarch.rpm", "download", {"download": "failed"}),
])
def test_a_missing_blob(doctor, dnf, registry, pushed, title, step, verdicts):
    manifest = run("oras", "manifest", "fetch", "--plain-http", dnf.reference(registry)).output
    [digest] = [layer["digest"] for layer in json.loads(manifest)["layers"] if title in str(layer)]
    digits = digest.partition(":")[2]
    blob = registry.directory / "data/docker/registry/v2/blobs/sha256" / digits[:2] / digits
    aside = blob.rename(dnf.tmp_path / "aside")
    try:
        found = doctor(pushed.baseurl, code=1).only(**verdicts)
        found.says(step, f"the registry does not have {digest}: ", "; have its owner push it again")
    finally:
        aside.rename(blob)


def test_another_architecture(doctor, dnf, registry):
    config = dnf.tmp_path / "config.json"
    config.write_text(json.dumps({"architecture": "s390x", "os": "linux"}))
    dnf.repository().add(build("one")).createrepo().push(dnf.reference(registry, "s390x"), options=[
        "--config", f"../{config.name}:application/vnd.oci.image.config.v1+json",
        "--disable-path-validation"])
    run("oras", "manifest", "index", "create", "--plain-http", dnf.reference(registry), "s390x")
    baseurl = f"oci://{dnf.reference(registry)}"
    doctor(baseurl, "--arch=s390x").only()
    found = doctor(baseurl, "--arch=riscv64", code=1).only(
        manifest="failed", policy="skipped", layout="skipped", repodata="skipped",
        download="skipped")
    found.says("manifest", "riscv64", "; push it with an entry for this architecture")


def test_a_cachedir_without_room(doctor, pushed):
    cachedir = CACHE / "small"
    cachedir.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", cachedir)
    (cachedir / "full").write_bytes(bytes(4096))
    try:
        found = doctor(pushed.baseurl, f"--cachedir={cachedir / 'libdnf5'}", code=1)
        found.only(cache="failed").says("cache", f"{cachedir} has 0 bytes left, and the metadata needs ")
    finally:
        run("umount", cachedir)


def test_another_cachedir(pushed):
    """dnf5 uses a private instance for it even if the service is on the system bus, which could not
    write there."""
    result = run("dnf5-oci", "doctor", "--cachedir=/srv/cache", pushed.baseurl)
    result.has("/srv/cache/REPOSITORY-").has("A private instance can serve")


def test_damaged_repodata(doctor, dnf, registry):
    repository = dnf.repository().add(build("one")).createrepo()
    primary = next((repository.directory / "repodata").glob("*primary.xml*"))
    primary.write_bytes(primary.read_bytes() + b"more")
    repository.push_files(dnf.reference(registry))
    found = doctor(f"oci://{dnf.reference(registry)}", code=1).only(repodata="failed", download="skipped")
    found.says("layout", "metadata in a layer for each file, 1 package with")
    found.says("repodata", f'size mismatch for "repodata/{primary.name}": expected ',
               "have its owner run createrepo_c")


def test_a_local_layout(doctor, dnf, registry, pushed, tmp_path):
    layout = tmp_path / "layout"
    run("skopeo", "copy", "--quiet", "--src-tls-verify=false",
        pushed.baseurl.replace("oci://", "docker://"), f"oci:{layout}:stable")
    found = doctor(f"oci://{layout}:stable").only()
    found.says("registry", f"{layout} is a directory of this machine")
    found.says("credentials", "not needed")


def test_over_the_bus(dnf, pushed):
    reply = json.loads(run(
        "busctl", "--system", "--json=short", "call", "io.github.dnf5_oci", "/io/github/dnf5_oci",
        "io.github.dnf5_oci.Backend1", "Diagnose", "sa{sv}", pushed.baseurl, "1",
        "cachedir", "s", "/var/cache/libdnf5/other").output)
    assert reply["type"] == "a(sss)"
    [steps] = reply["data"]
    assert [(step, verdict) for step, verdict, _ in steps] == [(step, "ok") for step in STEPS]
    assert "/var/cache/libdnf5/other/REPOSITORY-" in steps[-1][2]


def test_wrong_arguments(dnf):
    result = run("dnf5-oci", "doctor", "oci://acme/rpms", code=2)
    result.has('"acme" is not a registry host')
