"""What a registry says becomes one short line, without secrets and without tricks."""

import base64
import json
import socket
import unicodedata
import urllib.parse
from pathlib import Path

import pytest

from conftest import insecure
from harness import secrets
from harness.commands import run
from harness.hostile import Hostile
from harness.lines import OURS
from harness.repository import build
from harness.service import service_as_systemd_runs_it, settings, unit

USER = "me"
PASSWORD = 'Pa"ss\\wo/rd&7f3c'
LOGIN = f"{USER}:{PASSWORD}"
secrets.register(PASSWORD, USER)
LONGEST = 300


def encoded(text):
    return base64.b64encode(text.encode()).decode()


# Forms of a text.
FORMS = {
    "plain": str,
    "upper": str.upper,
    "percent": lambda text: urllib.parse.quote(text, safe=""),
    "percent-lower": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "percent-twice": lambda text: urllib.parse.quote(urllib.parse.quote(text, safe=""), safe=""),
    "base64": encoded,
    "base64-unpadded": lambda text: encoded(text).rstrip("="),
    "base64-url": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "base64-shifted": lambda text: encoded(f"x{text}y"),
    "json": lambda text: json.dumps(text)[1:-1],
    "go": lambda text: "".join(f"\\x{byte:02x}" for byte in text.encode()),
    "html": lambda text: "".join(f"&#{ord(character)};" for character in text),
    "hexadecimal": lambda text: text.encode().hex(),
}


@pytest.fixture(scope="module")
def hostile():
    running = Hostile(5060)
    insecure(running.address)
    yield running
    running.stop()


@pytest.fixture
def ask(dnf, hostile, tmp_path):
    """Asks the registry and returns our line, the output and the log, which must not have it either."""
    hostile.reset()

    def asked(username=USER, password=PASSWORD):
        dnf.clear_cache()
        options = {"username": username, "password": password} if username else {}
        dnf.add("tools", f"oci://{hostile.address}/acme/rpms:stable", **options)
        log = tmp_path / "log"
        with service_as_systemd_runs_it(log, DNF5_OCI_LOG="trace"):
            result = dnf("repoquery", code=1)
        lines = [found[1] for found in map(OURS.fullmatch, result.output.splitlines()) if found]
        assert len(lines) == 1, result
        [line] = lines
        assert len(line) <= LONGEST, line
        assert line.startswith(f"repository tools oci://{hostile.address}/acme/rpms:stable: ")
        categories = {unicodedata.category(character) for character in line}
        assert not categories & {"Cc", "Cf", "Co", "Cn", "Cs", "Zl", "Zp"}, ascii(line)
        log = log.read_text()
        assert max(map(len, log.splitlines())) < 5000
        return line, result.output, log

    return asked


def error(text):
    return json.dumps({"errors": [{"code": "DENIED", "message": text}]})


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("text", [PASSWORD, LOGIN], ids=["password", "login"])
def test_a_repeated_password_is_blacked_out(hostile, ask, form, text):
    repeated = FORMS[form](text)
    for body in (error(f"no {repeated} here"), f"no {repeated} here"):
        hostile.body = body
        line, output, log = ask()
        for shown in (repeated, json.dumps(repeated)[1:-1]):
            assert shown not in output and shown not in log, log
        assert "***" in log and "***" in line or " … " in line


@pytest.mark.parametrize("part", [lambda header: header, lambda header: header.split()[1]],
                         ids=["header", "word"])
def test_a_repeated_header_is_blacked_out(hostile, ask, part):
    hostile.body = lambda header: error(f"not {part(header)} again")
    for found in ask():
        assert encoded(LOGIN) not in found and encoded(LOGIN).rstrip("=") not in found, found


def test_the_password_of_an_auth_file_is_blacked_out(hostile, ask, auth_file):
    for form, repeated in FORMS.items():
        hostile.body = error(f"no {repeated(PASSWORD)} and {repeated(LOGIN)} here")
        for found in ask(username=None):
            assert repeated(PASSWORD) not in found and repeated(LOGIN) not in found, (form, found)
    hostile.body = lambda header: error(f"not {header.split()[1]} again")
    for found in ask(username=None):
        assert encoded(LOGIN).rstrip("=") not in found, found


@pytest.fixture
def auth_file(hostile):
    file = Path("/etc/dnf5-oci/auth.json")
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"auths": {hostile.address: {"auth": encoded(LOGIN)}}}))
    file.chmod(0o600)
    yield file
    file.unlink()


@pytest.mark.parametrize("length", [500, 20_000, 31_000, 40_000, 100_000])
@pytest.mark.parametrize("status", [403, 500])
def test_a_long_text(hostile, ask, length, status):
    hostile.status = status
    hostile.body = error("the beginning " + "x " * (length // 2) + "the end")
    line, _, _ = ask()
    assert "; check the" in line, line


def test_characters_that_deceive(hostile, ask):
    hostile.body = error("a\u202eb\u200bc\u2066d\u2028e\u2029f\ufeffg\ue000h\u0007i\u001b[31mj\nk")
    _, output, log = ask()
    assert "a\\u{202e}b\\u{200b}c\\u{2066}d\\u{2028}e\\u{2029}f\\u{feff}g\\u{e000}h" in log
    assert "\u202e" not in log and "\x1b[31m" not in log
    assert "\u202e" not in output and "\x1b[31m" not in output


@pytest.mark.parametrize("everyones", [True, False])
def test_a_login_page(hostile, ask, everyones):
    hostile.status = 200
    hostile.body = "<!DOCTYPE html><html><body>Log in to the guest network</body></html>"
    hostile.kind = "text/html"
    hostile.everyones = everyones
    line, _, _ = ask()
    assert "answered with a web page instead of the registry's protocol; check the address" in line


@pytest.fixture
def small_store():
    """A small file system for unpacked layers."""
    store = Path("/var/cache/dnf5-oci")
    store.mkdir(exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", store)
    yield store
    run("umount", store)


def test_a_full_layer_store(dnf, registry, small_store):
    dnf.backend("private")
    reference = dnf.reference(registry)
    dnf.repository().add(build("large", size=900_000), "Packages").createrepo().push(reference)
    dnf.add("tools", f"oci://{reference}")
    result = dnf("-y", "install", "--downloadonly", "large", code=1)
    result.has(f"repository tools oci://{reference}: {small_store}/").has("would be left on its file system")
    result.has("; free space there, or set a lower limits.store-size\n").has_not(": : ")


def test_no_free_descriptors(dnf, registry):
    dnf.backend("system")
    reference = dnf.reference(registry)
    dnf.repository().add(build("one"), "Packages").createrepo().push(reference)
    dnf.add("tools", f"oci://{reference}")
    with unit("[Service]\nLimitNOFILE=22\n"):
        result = dnf("-y", "install", "--downloadonly", "one", code=1).has("Too many open files")
    result.has("set a higher LimitNOFILE= of dnf5-oci.service; without the service, ulimit -n")
    result.has_not("check that it exists")


# A crash of the real one: Go prints the stacks of all goroutines at this signal.
CRASHING = """#!/bin/sh
[ "$1" = --version ] && exec skopeo --version
(sleep 0.2; kill -QUIT $$) &
exec skopeo "$@"
"""


def test_skopeo_crashes(dnf, tmp_path):
    program = tmp_path / "skopeo"
    program.write_text(CRASHING)
    program.chmod(0o755)
    silent = socket.create_server(("127.0.0.1", 5061))
    insecure("localhost:5061")
    dnf.add("tools", "oci://localhost:5061/acme/rpms:stable")
    log = tmp_path / "log"
    with silent, settings(f'skopeo = "{program}"\n'), service_as_systemd_runs_it(log):
        result = dnf("repoquery", code=1)
    result.has("repository tools oci://localhost:5061/acme/rpms:stable: skopeo crashed (").has("; update skopeo;")
    result.has_not("goroutine")
    assert "goroutine" in log.read_text()
    assert max(map(len, log.read_text().splitlines())) < 5000
