"""Credentials are found where podman finds them, and mean the same."""

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import CONTAINERS
from harness import podman, secrets
from harness.commands import processes, run, wait_until
from harness.registry import private_registry
from harness.relay import Relay
from harness.repository import Repository, build
from harness.service import call, reload_units, service_as_systemd_runs_it, unit

HOST = "registry.example"
REFERENCE = f"{HOST}/acme/rpms:stable"
RIGHT = ("user", "the-password")
WRONG = ("user", "wrong-password")

SYSTEM = Path("/etc/dnf5-oci/auth.json")
REFUSED = "authentication required"
USUAL = Path("/run/containers/0/auth.json")
SESSION_OF_ROOT = Path("/run/user/0/containers/auth.json")
PATH = {"PATH": os.environ["PATH"]}

# podman's search order for root: without any variables, as in a systemd service, and with all of them.
BARE = (
    {},
    ["/run/containers/0/auth.json", "/root/.config/containers/auth.json",
     "/root/.docker/config.json", "/root/.dockercfg"],
)
SESSION = (
    {"HOME": "/tmp/home", "XDG_RUNTIME_DIR": "/tmp/runtime", "XDG_CONFIG_HOME": "/tmp/config",
     "DOCKER_CONFIG": "/tmp/docker"},
    ["/tmp/runtime/containers/auth.json", "/tmp/config/containers/auth.json",
     "/tmp/docker/config.json", "/tmp/home/.dockercfg"],
)


@pytest.fixture(scope="module")
def private(tmp_path_factory):
    """A registry with TLS from a private CA and a user, and a repository in it."""
    directory = tmp_path_factory.mktemp("private")
    registry = private_registry(directory, HOST, user=RIGHT)
    registry.certificate.trust(HOST)
    repository = Repository(directory / "repository").add(build("one")).createrepo()
    repository.push(REFERENCE, options=registry.login)
    yield registry
    registry.stop()


@pytest.fixture(autouse=True)
def no_auth_files():
    """Removes the auth files of other tests."""
    yield
    files = [file for _, files in (BARE, SESSION) for file in files]
    for path in map(Path, [SYSTEM.parent, SESSION_OF_ROOT, "/tmp/home", *files]):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def entry(user, password):
    secrets.register(password, user)
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def write(path, auths, **more):
    """Writes an auth file, in the format that belongs to its name."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(auths if path.name == ".dockercfg" else {"auths": auths, **more}))
    path.chmod(0o600)


def ask(dnf, reference, **how):
    """Runs dnf5 with an empty cache."""
    dnf.clear_cache()
    dnf.add("tools", f"oci://{reference}")
    return dnf("repoquery", **how)


def doctor(code=1, **how):
    """Runs the doctor, who has room for more than a line of dnf5's."""
    return run("dnf5-oci", "doctor", f"oci://{REFERENCE}", code=code, **how)


def same(dnf, reference=REFERENCE, options=(), **how):
    """Asserts that dnf5 succeeds if podman does, or fails with podman's message; returns that."""
    words = podman.refusal(reference, *options, **how)
    if words:
        ask(dnf, reference, code=1, **how).tells(words)
    else:
        ask(dnf, reference, **how).has("one-0:1-1.noarch")
    return words


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("variables, files", [BARE, SESSION], ids=["bare", "session"])
def test_the_first_file_with_an_entry_counts(dnf, private, variables, files, place):
    dnf.backend("private")
    environment = PATH | variables
    for file in files[:place]:
        write(file, {"elsewhere.example": entry(*WRONG)})
    write(files[place], {HOST: entry(*RIGHT)})
    assert same(dnf, env=environment) == ""
    if place:
        write(files[place - 1], {HOST: entry(*WRONG)})
        assert REFUSED in same(dnf, env=environment)


def test_none_has_an_entry(dnf, private):
    dnf.backend("private")
    for variables, files in (BARE, SESSION):
        environment = PATH | variables
        assert REFUSED in same(dnf, env=environment)
        result = ask(dnf, REFERENCE, code=1, env=environment)
        session = [] if variables else [SESSION_OF_ROOT]
        result.has(f'"podman login {HOST}"')
        searched = f"looked for credentials in {', '.join(map(str, [SYSTEM, *session, *files]))}"
        result.tells(searched)
        doctor(env=environment).has(f"{searched}\n")
        assert result.output.count(REFUSED) == 1, result


def test_registry_auth_file_stands_alone(dnf, private):
    dnf.backend("private")
    variables, files = SESSION
    environment = PATH | variables | {"REGISTRY_AUTH_FILE": "/tmp/home/alone.json"}
    for file in files:
        write(file, {HOST: entry(*RIGHT)})
    assert REFUSED in same(dnf, env=environment)
    doctor(env=environment).has(f"in {SYSTEM}, /tmp/home/alone.json\n")
    write("/tmp/home/alone.json", {HOST: entry(*RIGHT)})
    for file in files:
        write(file, {HOST: entry(*WRONG)})
    assert same(dnf, env=environment) == ""


def test_the_systems_own_file_comes_first(dnf, private):
    write(SYSTEM, {HOST: entry(*RIGHT)})
    write(USUAL, {HOST: entry(*WRONG)})
    ask(dnf, REFERENCE).has("one-0:1-1.noarch")
    write(SYSTEM, {HOST: entry(*WRONG)})
    write(USUAL, {HOST: entry(*RIGHT)})
    ask(dnf, REFERENCE, code=1).has(podman.refusal(REFERENCE, "--authfile", SYSTEM))


def test_the_systems_own_file_may_be_another(dnf, private):
    dnf.backend("private")
    other = Path("/tmp/home/other.json")
    SYSTEM.parent.mkdir(exist_ok=True)
    (SYSTEM.parent / "config.toml").write_text(f'auth-file = "{other}"\n')
    write(SYSTEM, {HOST: entry(*RIGHT)})
    result = ask(dnf, REFERENCE, code=1).has(REFUSED)
    result.has("looked for credentials in /tmp/").has_not(str(SYSTEM))
    doctor().has(f"looked for credentials in {other}, ").has_not(str(SYSTEM))
    write(other, {HOST: entry(*RIGHT)})
    write(USUAL, {HOST: entry(*WRONG)})
    ask(dnf, REFERENCE).has("one-0:1-1.noarch")


@pytest.mark.parametrize("others", [
    {},
    {"elsewhere.example": entry(*WRONG)},
    {f"{HOST}/acme-two": entry(*WRONG)},
    # docker leaves such entries behind when a helper stores the credentials.
    {HOST: {}},
    {f"{HOST}/acme/rpms": {"auth": ""}},
])
def test_the_systems_own_file_without_an_entry_is_passed_over(dnf, private, others):
    write(SYSTEM, others)
    write(USUAL, {HOST: entry(*RIGHT)})
    ask(dnf, REFERENCE).has("one-0:1-1.noarch")


def test_a_file_that_the_caller_names_is_the_only_one(private):
    def inspect(file, code=0):
        options = ("1", "auth-file", "s", file)
        return call("Inspect", "sa{sv}", f"oci://{REFERENCE}", *options, code=code)

    write(SYSTEM, {HOST: entry(*WRONG)})
    write("/tmp/home/named.json", {HOST: entry(*RIGHT)})
    inspect("/tmp/home/named.json").has('"auth-file" s "/tmp/home/named.json"')
    write(USUAL, {HOST: entry(*RIGHT)})
    write("/tmp/home/named.json", {})
    result = inspect("/tmp/home/named.json", code=1).has("credentials in /tmp/home/named.json")
    result.has(podman.refusal(REFERENCE, "--authfile", "/tmp/home/named.json"))


@pytest.mark.parametrize("auths, served", [
    ({f"{HOST}/acme/rpms": RIGHT, f"{HOST}/acme": WRONG, HOST: WRONG}, True),
    ({f"{HOST}/acme/rpms": WRONG, f"{HOST}/acme": RIGHT, HOST: RIGHT}, False),
    ({f"{HOST}/acme": RIGHT, HOST: WRONG}, True),
    ({f"{HOST}/acme": WRONG, HOST: RIGHT}, False),
    ({f"{HOST}/other": WRONG, f"{HOST}/acme/rpms/more": WRONG, HOST: RIGHT}, True),
    ({f"{HOST}/other": RIGHT, f"{HOST}/acm": RIGHT}, False),
    ({f"https://{HOST}/v1/": RIGHT}, True),
    ({f"{HOST}:443": RIGHT}, False),
    ({f"{HOST}/acme": None, HOST: RIGHT}, False),
])
def test_the_closest_entry_of_a_file_counts(dnf, private, auths, served):
    auths = {key: entry(*value) if value else {} for key, value in auths.items()}
    write(USUAL, auths)
    assert (same(dnf) == "") == served
    USUAL.unlink()
    write(SYSTEM, auths)
    result = ask(dnf, REFERENCE, code=None)
    assert (result.code == 0) == served, result


@pytest.mark.parametrize("entry_of_registries_conf", [
    f'prefix = "elsewhere.example"\nlocation = "{HOST}"\n',
    f'location = "elsewhere.example"\n[[registry.mirror]]\nlocation = "{HOST}"\n',
], ids=["location", "mirror"])
def test_who_is_asked_has_the_credentials(dnf, private, entry_of_registries_conf):
    conf = CONTAINERS / "registries.conf.d" / "places.conf"
    conf.parent.mkdir(exist_ok=True)
    conf.write_text(f"[[registry]]\n{entry_of_registries_conf}")
    reference = "elsewhere.example/acme/rpms:stable"
    try:
        write(USUAL, {"elsewhere.example": entry(*RIGHT)})
        assert REFUSED in same(dnf, reference)
        write(USUAL, {HOST: entry(*RIGHT)})
        assert same(dnf, reference) == ""
        USUAL.unlink()
        write(SYSTEM, {HOST: entry(*RIGHT)})
        ask(dnf, reference).has("one-0:1-1.noarch")
        run("dnf5-oci", "doctor", f"oci://{reference}").has(f"{SYSTEM} has an entry for {HOST}")
    finally:
        conf.unlink()


def test_the_advice_names_who_wants_credentials(dnf, private):
    conf = CONTAINERS / "registries.conf.d" / "places.conf"
    conf.parent.mkdir(exist_ok=True)
    conf.write_text(f'[[registry]]\nprefix = "elsewhere.example"\nlocation = "{HOST}"\n')
    try:
        ask(dnf, "elsewhere.example/acme/rpms:stable", code=1).has(f'"podman login {HOST}"')
    finally:
        conf.unlink()


HELPER = Path("/usr/bin/docker-credential-test")


@pytest.fixture
def helper():
    """A credential helper; returns the function that sets its answer."""

    def says(user, password, code=0):
        answer = json.dumps({"ServerURL": HOST, "Username": user, "Secret": password})
        if code:
            answer = "credentials not found in native keychain"
        HELPER.write_text(f"#!/bin/sh\n[ $1 = get ] && echo '{answer}' && exit {code}\n")
        HELPER.chmod(0o755)

    yield says
    HELPER.unlink(missing_ok=True)


def test_a_helper_named_in_an_auth_file(dnf, private, helper):
    for file in (USUAL, Path("/root/.docker/config.json")):
        helper(*RIGHT)
        write(file, {HOST: entry(*WRONG)}, credHelpers={HOST: "test"})
        assert same(dnf) == ""
        helper(*WRONG)
        assert REFUSED in same(dnf)
        helper(*RIGHT, code=1)
        assert REFUSED in same(dnf)
        HELPER.unlink()
        assert "docker-credential-test" in same(dnf)
        file.unlink()


def test_a_helper_named_in_the_systems_own_file(dnf, private, helper):
    helper(*RIGHT)
    write(SYSTEM, {}, credHelpers={HOST: "test"})
    write(USUAL, {HOST: entry(*WRONG)})
    ask(dnf, REFERENCE).has("one-0:1-1.noarch")


@pytest.fixture
def writing_helper():
    """A helper that writes below the home directory of its user, as those of clouds do."""
    answer = json.dumps({"ServerURL": HOST, "Username": RIGHT[0], "Secret": RIGHT[1]})
    HELPER.write_text(f"#!/bin/sh\nset -e\nmkdir -p ~/.config/cloud\ndate > ~/.config/cloud/log\necho '{answer}'\n")
    HELPER.chmod(0o755)
    write(USUAL, {}, credHelpers={HOST: "test"})
    yield
    HELPER.unlink()
    shutil.rmtree("/root/.config/cloud", ignore_errors=True)


def test_a_helper_that_writes_below_its_home(dnf, private, writing_helper):
    advice = "the unit lets no credential helper write below /root: set ReadWritePaths= of dnf5-oci.service"
    dnf.backend("system")
    reload_units()
    ask(dnf, REFERENCE, code=1).has("error getting credentials").has(advice)
    result = doctor()
    assert re.search(f"credentials +failed .*{advice}", result.output), result
    Path("/root/.config/cloud").mkdir(parents=True)
    with unit("[Service]\nReadWritePaths=/root/.config/cloud\n"):
        ask(dnf, REFERENCE).has("one-0:1-1.noarch")


def test_a_helper_that_writes_below_its_home_for_a_private_instance(dnf, private, writing_helper):
    dnf.backend("private")
    ask(dnf, REFERENCE).has("one-0:1-1.noarch")


def test_a_store_of_docker_is_not_podmans(dnf, private, helper):
    helper(*RIGHT)
    write("/root/.docker/config.json", {HOST: {}}, credsStore="test")
    assert REFUSED in same(dnf)


def test_helpers_named_in_registries_conf(dnf, private, helper):
    conf = CONTAINERS / "registries.conf.d" / "helpers.conf"
    conf.parent.mkdir(exist_ok=True)
    write(USUAL, {HOST: entry(*WRONG)})
    helper(*RIGHT)
    try:
        conf.write_text('credential-helpers = ["test"]\n')
        assert same(dnf) == ""
        conf.write_text('credential-helpers = ["containers-auth.json", "test"]\n')
        assert REFUSED in same(dnf)
        write(USUAL, {})
        assert same(dnf) == ""
        doctor(code=0).has("registries.conf has test asked too")
        helper(*WRONG)
        ask(dnf, REFERENCE, code=1).has(REFUSED).has("docker-credential-test\n")
    finally:
        conf.unlink()
    assert REFUSED in same(dnf)


def test_each_change_holds_from_the_next_request_on(dnf, private, tmp_path):
    _, files = BARE
    with service_as_systemd_runs_it(tmp_path / "log"):
        for file in [SYSTEM, SESSION_OF_ROOT, *files]:
            assert REFUSED in same(dnf)
            write(file, {HOST: entry(*RIGHT)})
            ask(dnf, REFERENCE).has("one-0:1-1.noarch")
            write(file, {HOST: entry(*WRONG)})
            ask(dnf, REFERENCE, code=1).has(REFUSED)
            Path(file).unlink()


def test_no_image_that_was_opened_before_a_change_is_used(dnf, private, tmp_path):
    package = build("one")
    digest = hashlib.sha256(package.read_bytes()).hexdigest()
    directory = dnf.tmp_path / "cache"

    def fetch(code=0):
        shutil.rmtree(directory / "packages", ignore_errors=True)
        return call("FetchPackage", "sssssta{sv}", "tools", f"oci://{REFERENCE}", directory,
                    package.name, f"sha256:{digest}", package.stat().st_size, "0", code=code)

    with service_as_systemd_runs_it(tmp_path / "log"):
        for file in [SYSTEM, SESSION_OF_ROOT, *BARE[1]]:
            write(file, {HOST: entry(*RIGHT)})
            shutil.rmtree(directory, ignore_errors=True)
            call("PrefetchRepodata", "sssa{sv}", "tools", f"oci://{REFERENCE}", directory, "0")
            fetch()
            # The manifest and the open image are cached.
            private.clear()
            fetch()
            assert private.manifests() == []
            Path(file).unlink()
            fetch(code=1).has(REFUSED)


def log_in(**how):
    run("skopeo", "login", "--username", RIGHT[0], "--password", RIGHT[1], HOST, **how)


@pytest.mark.parametrize("backend", ["system", "private"])
def test_login_and_logout(dnf, private, backend):
    dnf.backend(backend)
    assert REFUSED in same(dnf)
    running = processes("dnf5-oci", "serve")
    for _ in range(2):
        log_in()
        assert same(dnf) == ""
        run("skopeo", "logout", HOST)
        assert REFUSED in same(dnf)
    assert processes("dnf5-oci", "serve") == running


def test_login_and_logout_in_a_session_that_the_service_has_no_part_in(dnf, private, tmp_path):
    session = os.environ | {"XDG_RUNTIME_DIR": "/run/user/0"}
    SESSION_OF_ROOT.parent.mkdir(parents=True, exist_ok=True)
    with service_as_systemd_runs_it(tmp_path / "log"):
        for _ in range(2):
            log_in(env=session)
            assert SESSION_OF_ROOT.exists()
            assert same(dnf, env=session) == ""
            run("skopeo", "logout", HOST, env=session)
            assert REFUSED in same(dnf, env=session)
        write(SESSION_OF_ROOT, {"elsewhere.example": entry(*WRONG)})
        write(USUAL, {HOST: entry(*RIGHT)})
        ask(dnf, REFERENCE, env=session).has("one-0:1-1.noarch")


def test_a_logout_ends_the_use_of_what_is_cached_no_sooner_than_a_request(dnf, private):
    write(USUAL, {HOST: entry(*RIGHT)})
    ask(dnf, REFERENCE)
    USUAL.unlink()
    private.clear()
    dnf("repoquery").has("one-0:1-1.noarch")
    assert private.requests() == []
    dnf("--refresh", "repoquery", code=1).has(REFUSED)


@pytest.mark.parametrize("file", [SYSTEM, USUAL, Path("/root/.docker/config.json")])
def test_a_file_that_is_no_json(dnf, private, file):
    write(file, {})
    file.write_text('{"auths": {"%s": {"auth": "c2VjcmV0" secret}}}' % HOST)
    options = ["--authfile", file] if file == SYSTEM else []
    words = podman.refusal(REFERENCE, *options)
    assert f'reading JSON file "{file}"' in words
    result = ask(dnf, REFERENCE, code=1).tells(words)
    result.has_not("c2VjcmV0").has_not("secret").has_not("podman login").has(f"correct {file}")
    doctor().has(f"{file} is not valid JSON from line 1 on;").has(words).has_not("secret")


def test_a_file_that_others_can_read_is_told_once(dnf, private, tmp_path):
    write(SYSTEM, {})
    write(USUAL, {HOST: entry(*RIGHT)})
    SYSTEM.chmod(0o644)
    log = tmp_path / "log"
    with service_as_systemd_runs_it(log):
        for _ in range(2):
            ask(dnf, REFERENCE).has("one-0:1-1.noarch")
    text = log.read_text()
    assert text.count("WARN") == 1, text
    assert f"others can read {SYSTEM}" in text and f"chmod 600 {SYSTEM}" in text, text


def test_an_ordinary_user_has_credentials_of_his_own(dnf, private):
    home = Path("/tmp/home")
    home.mkdir(exist_ok=True)
    write(SYSTEM, {HOST: entry(*WRONG)})
    write("/root/.config/containers/auth.json", {HOST: entry(*RIGHT)})
    write("/tmp/runtime/containers/auth.json", {HOST: entry(*RIGHT)})
    for path in (home, Path("/tmp/runtime"), *Path("/tmp/runtime").rglob("*")):
        shutil.chown(path, "nobody")
    environment = PATH | {"HOME": str(home)}
    user = ["setpriv", "--reuid=nobody", "--clear-groups"]
    dnf.add("tools", f"oci://{REFERENCE}")
    run(*user, "dnf5", "repoquery", code=1, env=environment).has(REFUSED)
    environment["XDG_RUNTIME_DIR"] = "/tmp/runtime"
    run(*user, "dnf5", "repoquery", env=environment).has("one-0:1-1.noarch")


def shown_by(process):
    """The command line and the environment of a process."""
    files = (Path(f"/proc/{process}/{name}") for name in ("cmdline", "environ"))
    try:
        return b"".join(file.read_bytes() for file in files)
    except OSError:
        # It has ended.
        return b""


def test_secrets_are_shown_nowhere(dnf, private, tmp_path):
    relay = Relay(5443, 443, rate=400_000)
    address = f"{HOST}:5443"
    directory = CONTAINERS / "certs.d" / address
    shutil.copytree(CONTAINERS / "certs.d" / HOST, directory)
    repository = Repository(tmp_path / "repository").add(build("large", size=800_000)).createrepo()
    repository.push(f"{HOST}/acme/large:stable", options=private.login)
    write(USUAL, {address: entry(*RIGHT)})
    secrets = [RIGHT[1].encode(), entry(*RIGHT)["auth"].encode()]
    log = tmp_path / "log"
    with service_as_systemd_runs_it(log, DNF5_OCI_LOG="trace"):
        dnf.add("tools", f"oci://{address}/acme/large:stable")
        fetching = subprocess.Popen(["dnf5", "download", "--destdir", tmp_path, "large"])
        wait_until(lambda: relay.passed > 100_000, "the package is on its way")
        assert processes("skopeo", "experimental-image-proxy")
        assert fetching.poll() is None
        for shown in map(shown_by, processes()):
            assert not [secret for secret in secrets if secret in shown], shown
        patterns = [f"-e{secret.decode()}" for secret in secrets]
        written = run("grep", "-rlsaF", "--devices=skip", *patterns, "/etc", "/run", "/tmp", "/var",
                      code=None)
        assert written.output == f"{USUAL}\n", written
        assert fetching.wait() == 0
        write(USUAL, {address: entry(*WRONG)})
        result = dnf("--refresh", "repoquery", code=1).has(REFUSED)
    shutil.rmtree(directory)
    secrets += [WRONG[1].encode(), entry(*WRONG)["auth"].encode()]
    for output in (log.read_bytes(), result.output.encode()):
        assert output and not [secret for secret in secrets if secret in output], output
