"""What can go wrong before anything is pushed, and the one line that says so."""

import shutil

import pytest

from harness import publishing
from harness.commands import run
from harness.publishing import publish, refused
from harness.registry import private_registry
from harness.repository import build


@pytest.fixture
def repository(dnf):
    return dnf.repository().add(build("one"))


@pytest.fixture
def tools(dnf, registry):
    return dnf.reference(registry)


def test_no_such_directory(tools):
    refused("publish", "/nonexistent", tools).has("/nonexistent: no such file or directory")


def test_not_a_tag(repository):
    refused("publish", repository.directory, "quay.io/acme/rpms@sha256:" + "0" * 64).has("HOST/PATH:TAG")
    refused("publish", repository.directory, "oci:///srv/mirror:stable").has("HOST/PATH:TAG")


def test_not_a_reference(repository):
    refused("publish", repository.directory, "quay.io/acme/RPMS:stable").has("RPMS")


def test_no_createrepo(repository, tools):
    tool = shutil.which("createrepo_c")
    hidden = f"{tool}.hidden"
    shutil.move(tool, hidden)
    try:
        refused("publish", repository.directory, tools).has("createrepo_c").has("install")
    finally:
        shutil.move(hidden, tool)


def test_no_registry(repository):
    refused("publish", repository.directory, "localhost:1/acme/rpms:stable").has("connection refused")


def test_not_logged_in(repository, tmp_path):
    private = private_registry(tmp_path, "push.example")
    private.certificate.trust("push.example")
    try:
        reference = f"{private.address}/acme/rpms:stable"
        refused("publish", repository.directory, reference).has('run "podman login push.example"')
        authfile = tmp_path / "auth.json"
        run("skopeo", "login", "--authfile", authfile, "--username", "user", "--password-stdin", "push.example",
            answer="the-password")
        assert publish(repository, reference, "--authfile", authfile).packages == 1
    finally:
        private.stop()


def test_a_certificate_that_is_not_trusted(repository, tmp_path):
    private = private_registry(tmp_path, "untrusted.example", port=4443)
    try:
        refused("publish", repository.directory, f"{private.address}/acme/rpms:stable").has("certificate")
    finally:
        private.stop()


def test_the_tag_of_a_container_image_is_kept(registry, repository, tools, tmp_path):
    (tmp_path / "file").write_text("x")
    run("tar", "-cf", tmp_path / "layer.tar", "-C", tmp_path, "file")
    config = tmp_path / "config.json"
    config.write_text('{"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}')
    run("oras", "push", "--plain-http", "--disable-path-validation",
        "--config", f"{config}:application/vnd.oci.image.config.v1+json", tools,
        f"{tmp_path}/layer.tar:application/vnd.oci.image.layer.v1.tar")
    before = publishing.tag_digest(registry, tools)
    refused("publish", repository.directory, tools).has("choose another tag")
    refused("add", tools, build("one")).has("choose another tag")
    assert publishing.tag_digest(registry, tools) == before


def test_stale_metadata(repository, tools):
    """A package that the metadata does not list is a surprise later, one that is missing as well."""
    repository.createrepo()
    (repository.directory / "one-1-1.noarch.rpm").unlink()
    refused("publish", repository.directory, tools).has("one-1-1.noarch.rpm").has("--createrepo")


def test_metadata_of_other_bytes(repository, tools):
    repository.createrepo()
    with (repository.directory / "one-1-1.noarch.rpm").open("ab") as package:
        package.write(b"x")
    refused("publish", repository.directory, tools).has("one-1-1.noarch.rpm")


def test_damaged_metadata(repository, tools):
    repository.createrepo()
    [primary] = (repository.directory / "repodata").glob("*-primary.xml.*")
    primary.write_bytes(primary.read_bytes()[:-1])
    refused("publish", repository.directory, tools).has("run createrepo_c, or use --createrepo")


def test_not_a_package(dnf, tools, tmp_path):
    (tmp_path / "text.rpm").write_text("not a package\n")
    refused("add", tools, tmp_path / "text.rpm").has("text.rpm")
    refused("add", tools, tmp_path / "missing.rpm").has("missing.rpm: no such file or directory")


def test_a_link_that_leads_nowhere(repository, tools):
    (repository.directory / "two-1-1.noarch.rpm").symlink_to("/nonexistent")
    refused("publish", repository.directory, tools).has("two-1-1.noarch.rpm")


def test_unreadable_files(repository, tools):
    """As an ordinary user: root reads everything."""
    run("useradd", "--create-home", "publisher", code=None)
    (repository.directory / "one-1-1.noarch.rpm").chmod(0)
    for parent in (repository.directory, *repository.directory.parents[:-1]):
        parent.chmod(0o755) if parent != repository.directory.parents[-2] else None
    result = run("setpriv", "--reuid=publisher", "--regid=publisher", "--clear-groups", "env", "HOME=/home/publisher",
                 "dnf5-oci", "publish", repository.directory, tools, "--quiet", code=1)
    result.has("one-1-1.noarch.rpm").has("Permission denied")
    assert len(result.output.splitlines()) == 1, result


def test_no_room_for_temporary_files(repository, tools, tmp_path):
    full = tmp_path / "full"
    full.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=3", "tmpfs", full)
    try:
        result = run("env", f"TMPDIR={full}", "dnf5-oci", "publish", repository.directory, tools, "--quiet", code=1)
        result.has("No space left on device")
        assert len(result.output.splitlines()) == 1, result
    finally:
        run("umount", full)
