"""zypper, with its plugin and the gateway's socket."""

import os
import re
import shutil
from pathlib import Path

import pexpect
import pytest

from harness import guide, secrets
from harness.commands import run
from harness.keys import Key, remove_keys
from harness.programs import HOST, PROXY, SOCKET_UNIT
from harness.repository import build
from harness.service import journal, stop_services
from harness.zypper import CACHE, LOG, REPOS, add, clear, zypper

PLUGIN = Path("/usr/lib/zypp/plugins/urlresolver/oci")


@pytest.fixture(scope="module", autouse=True)
def socket():
    """As the guide says."""
    command = guide.block("zypper", "systemctl").splitlines()[-1]
    run("sh", "-c", command)
    yield
    run("systemctl", "disable", "--now", SOCKET_UNIT)


@pytest.fixture(autouse=True)
def machine():
    """A machine that has never used the repository, and a service that has not either."""
    clear()
    stop_services()
    yield
    for name in ("hello", "app"):
        run("rpm", "-e", name, code=None)
    secrets.check_logs(LOG)


@pytest.fixture
def reference(dnf, registry):
    """A repository with two packages."""
    dnf.repository().add(build("hello")).add(build("app")).createrepo().push(dnf.reference(registry))
    registry.clear()
    return dnf.reference(registry)


def test_the_commands_of_the_guide(reference, registry):
    addrepo, install = guide.block("zypper", "addrepo", reference).splitlines()
    run("sh", "-c", addrepo)
    assert f"baseurl=plugin:oci?reference={reference}\n" in (REPOS / "tools.repo").read_text()
    # Its metadata is unsigned.
    with (REPOS / "tools.repo").open("a") as file:
        file.write("gpgcheck=0\n")
    run("sh", "-c", install.replace("zypper", "zypper --non-interactive")).has("Installing: hello-1-1.noarch")
    assert Path("/usr/share/hello/file").read_text() == "hello 1\n"
    assert len(registry.manifests()) == 1, registry.requests()


def test_what_the_registry_is_asked_for(reference, registry):
    """One manifest for a refresh, each blob once, and nothing for what is cached."""
    add(reference)
    zypper("refresh").has("All repositories have been refreshed.")
    assert len(registry.manifests()) == 1, registry.requests()
    assert {status for _, _, status in registry.requests()} == {200}, "its files that zypper alone knows cost nothing"
    metadata = registry.blobs()
    registry.clear()
    zypper("--no-refresh", "search", "--details", "hello").has("1-1")
    assert registry.requests() == []
    zypper("--no-refresh", "install", "--download-only", "hello").has("Preloading: hello-1-1.noarch.rpm [done]")
    assert registry.manifests() == [], registry.requests()
    assert not set(registry.blobs()) & set(metadata)
    [package] = CACHE.rglob("*.rpm")
    assert package.read_bytes() == build("hello").read_bytes()
    registry.clear()
    zypper("--no-refresh", "install", "hello").has("In cache hello-1-1.noarch.rpm")
    assert registry.requests() == []


def test_after_no_nothing_is_downloaded(reference, registry):
    add(reference)
    zypper("refresh")
    registry.clear()
    process = pexpect.spawn("zypper", ["--no-refresh", "install", "hello"], encoding="utf-8", timeout=60)
    process.expect("Continue")
    process.sendline("n")
    process.expect(pexpect.EOF)
    process.wait()
    assert registry.requests() == []
    assert not list(CACHE.rglob("*.rpm"))
    assert run("rpm", "-q", "hello", code=1)


def test_list_and_modify_keep_the_url(reference):
    add(reference)
    zypper("lr", "-u").has(f"plugin:oci?reference={reference}")
    zypper("modifyrepo", "--priority", "50", "tools")
    assert f"baseurl=plugin:oci?reference={reference}\n" in (REPOS / "tools.repo").read_text()
    zypper("refresh").has("All repositories have been refreshed.")


def test_variables(dnf, registry):
    machine = os.uname().machine
    dnf.repository().add(build("hello")).createrepo().push(dnf.reference(registry, machine))
    add(dnf.reference(registry, "$basearch"))
    zypper("install", "hello").has("Installing: hello-1-1.noarch")


def test_a_digest_and_a_layout(dnf, registry, tmp_path):
    digest = dnf.repository().add(build("hello")).createrepo().push(dnf.reference(registry))
    name = dnf.reference(registry).rpartition(":")[0]
    add(f"{name}@{digest}")
    zypper("refresh").has("All repositories have been refreshed.")
    run("skopeo", "copy", "--src-tls-verify=false", f"docker://{name}@{digest}", f"oci:{tmp_path}/layout:stable")
    clear()
    add(f"oci://{tmp_path}/layout:stable")
    zypper("install", "hello").has("Installing: hello-1-1.noarch")


# --- signatures --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    # gpg-agent's socket is in there, and its path is limited.
    directory = Path("/tmp/keys")
    directory.mkdir()
    return Key(directory, "owner"), Key(directory, "stranger")


@pytest.fixture
def signed(dnf, registry, keys):
    """Publishes metadata signed by one of them or unsigned."""
    def publish(key):
        repository = dnf.repository(key.name if key else "unsigned").add(build("hello")).createrepo()
        if key:
            key.sign_metadata(repository)
        repository.push(dnf.reference(registry))
        return dnf.reference(registry)
    yield publish
    remove_keys()


def test_metadata_is_checked_by_default(signed, keys):
    owner, stranger = keys
    add(signed(None), gpgcheck=1)
    zypper("refresh", code=4).has("File 'repomd.xml' from repository 'tools' is unsigned")
    run("rpm", "--import", owner.public)
    for key, code in ((stranger, 4), (owner, 0)):
        stop_services()
        add(signed(key), gpgcheck=1)
        zypper("refresh", code=code)
    zypper("install", "hello").has("Installing: hello-1-1.noarch")


def test_a_key_in_the_repo_file(signed, keys):
    add(signed(keys[0]), gpgcheck=1, gpgkey=f"file://{keys[0].public}")
    zypper("--gpg-auto-import-keys", "install", "hello").has("Installing: hello-1-1.noarch")


def test_packages_are_checked_if_the_metadata_is_unsigned(reference):
    # The packaged libzypp does not understand what rpm 6 says of a signed one.
    add(reference, repo_gpgcheck=0, pkg_gpgcheck=1)
    zypper("install", "hello", code=8).has("Signature verification failed [6-File is unsigned]")
    assert run("rpm", "-q", "hello", code=1)


# --- failures ----------------------------------------------------------------------------------


def plugin(reference, **environment):
    """The plugin's answer."""
    result = run(PLUGIN, answer=f"RESOLVEURL\ncontent-length:0\nreference:{reference}\n\n\0",
                 env={"PATH": "/usr/bin", **environment})
    return result.output.removesuffix("\0").split("\n\n")


URL = f"{HOST}/quay.io/acme/rpms:stable"


def test_the_answers_of_the_plugin():
    assert plugin("quay.io/acme/rpms:stable") == ["RESOLVEDURL", f"{URL}?proxy={PROXY}"]
    assert plugin("oci://quay.io/acme/rpms:stable") == ["RESOLVEDURL", f"{URL}?proxy={PROXY}"]
    # Only that of "dnf5-oci run" leads to registries.
    for proxy, has_gateway in (("http://proxy.example:3128", False), ("socks5h://s3cr3t:-@127.0.0.1:4711", True)):
        assert plugin("quay.io/acme/rpms:stable", http_proxy=proxy) == [
            "RESOLVEDURL", URL if has_gateway else f"{URL}?proxy={PROXY}"]


@pytest.mark.parametrize("reference, reason", [
    ("", "no tag or digest"), ("quay.io/acme/rpms", "no tag or digest"), ("localhost:5000/rpms", "no tag or digest"),
    ("quay.io/acme/rpms:a b", "invalid character"), ("quay.io/acme/rpms:stable?proxy=x", "invalid character"),
    ("quay.io/acme/rpms:stable#x", "invalid character"), ("quay.io/acme/%72pms:stable", "invalid character"),
])
def test_an_invalid_reference(reference, reason):
    line = f'invalid reference "{reference}": {reason}; write HOST/PATH:TAG, as in quay.io/acme/rpms:stable'
    assert plugin(reference) == ["ERROR", line]


def test_zypper_shows_the_answer():
    add("quay.io/acme/rpms")
    zypper("refresh", code=4).has('invalid reference "quay.io/acme/rpms": no tag or digest; write HOST/PATH:TAG')


def test_without_the_socket(reference):
    add(reference)
    run("systemctl", "stop", SOCKET_UNIT)
    try:
        zypper("refresh", code=4).has("connecting to /run/dnf5-oci/gateway failed: no such socket; "
                                      'run "systemctl enable --now dnf5-oci.socket"')
    finally:
        run("systemctl", "start", SOCKET_UNIT)


def test_an_unknown_tag(dnf, registry, reference):
    """zypper shows no reason. The log has the line, as the guide says."""
    add(dnf.reference(registry, "none"))
    registry.clear()
    zypper("refresh", code=4).has("Repository type can't be determined").has("Skipping repository 'tools'")
    line = f"oci://{dnf.reference(registry, 'none')}: reading manifest none"
    run("sh", "-c", guide.block("When it fails", "journalctl")).has(line).has("manifest unknown")
    # zypper asks for two files to find out what kind of repository it is.
    assert len(registry.manifests()) <= 2, registry.requests()


def test_an_unreachable_registry(reference):
    add("localhost:9/acme/rpms:stable")
    result = zypper("refresh", code=4)
    assert re.search("temporarily unaccessible|returned error: 50", result.output), result
    assert "localhost:9" in journal("dnf5-oci.service", "--lines=5")
    # Others are not affected.
    (REPOS / "other.repo").write_text((REPOS / "tools.repo").read_text().replace("tools", "other"))
    add(reference)
    zypper("refresh", "tools").has("Specified repositories have been refreshed.")


def test_a_tag_that_moves(dnf, registry, installed):
    """A run sees one manifest. The next refresh sees the new one."""
    installed.append("app")
    reference = dnf.reference(registry)
    dnf.repository("one").add(build("app", "1")).createrepo().push(reference)
    add(reference)
    zypper("refresh")
    dnf.repository("two").add(build("app", "2")).createrepo().push(reference)
    # What the metadata lists is still to be had.
    zypper("--no-refresh", "install", "--download-only", "app").has("app-1-1.noarch.rpm [done]")
    shutil.rmtree(CACHE / "packages")
    # After a while it is not.
    stop_services()
    assert zypper("--no-refresh", "install", "app", code=None).code != 0
    assert run("rpm", "-q", "app", code=1)
    zypper("refresh")
    zypper("install", "app").has("Installing: app-2-1.noarch")
