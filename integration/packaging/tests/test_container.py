"""The Containerfile of the documentation, built with buildah."""

import json
import shutil
import tarfile
from pathlib import Path

import pytest

from harness import secrets
from harness.commands import run
from harness.registry import private_registry
from harness.repository import Repository, build

CONTAINERFILE = Path("/src/integration/packaging/Containerfile")
PACKAGES = Path("/packages")
HOST = "registry.example"
USER = ("builder", "a-secret-for-the-build")

# Commands for the image, beside the package and what it depends on.
BASE = ("libdnf5-plugin-oci", "dnf5", "bash", "coreutils", "dash")
CONFIGURATION = ("/etc/containers", "/etc/passwd", "/etc/group", "/etc/dnf")

# Storage of images on a file system that overlayfs accepts.
STORAGE = ("--root", "/tmp/storage", "--runroot", "/tmp/storage-run", "--storage-driver", "overlay")


def buildah(*arguments, **options):
    return run("buildah", *STORAGE, *arguments, **options).output


@pytest.fixture(scope="module", autouse=True)
def installed():
    debs = [next(PACKAGES.glob(f"{name}_*.deb")) for name in ("dnf5-oci", "libdnf5-plugin-oci")]
    run("dpkg", "--install", *debs)


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    """A registry with TLS and one user, and a repository in it."""
    running = private_registry(tmp_path_factory.mktemp("registry"), HOST, user=USER)
    running.certificate.trust(HOST)
    repository = Repository(tmp_path_factory.mktemp("repository") / "rpms").add(build("hello")).createrepo()
    repository.push(f"{HOST}/acme/rpms:stable", options=running.login)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def base(registry):
    """An image of the packages installed here that dnf5 with the plugin needs, and of podman's configuration."""
    depends = ("--recurse", "--installed", "--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks",
               "--no-replaces", "--no-enhances")
    names = {line for line in run("apt-cache", "depends", *depends, *BASE).output.splitlines()
             if line[:1].isalnum()}
    files = {path for path in run("dpkg", "--listfiles", *names).output.splitlines()
             if path.startswith("/") and not path.startswith(("/usr/share/doc", "/usr/share/man", "/."))}
    listed = Path("/tmp/base.files")
    listed.write_text("\n".join(sorted(files)))
    run("tar", "--create", "--file=/tmp/base.tar", "--no-recursion", "--directory=/", f"--files-from={listed}",
        "--recursion", *CONFIGURATION)
    container = buildah("from", "scratch").strip()
    buildah("add", "--quiet", container, "/tmp/base.tar", "/")
    buildah("commit", "--quiet", "--rm", container, "base")
    return "localhost/base"


@pytest.fixture(scope="module")
def image(registry, base, tmp_path_factory):
    """The image that the Containerfile makes, as a directory in OCI's layout."""
    context = tmp_path_factory.mktemp("context")
    shutil.copy(CONTAINERFILE, context)
    (context / "tools.repo").write_text(
        f"[tools]\nname=tools\nbaseurl=oci://{HOST}/acme/rpms:stable\ngpgcheck=0\n")
    auth = tmp_path_factory.mktemp("secret") / "auth.json"
    run("skopeo", "login", "--authfile", auth, "--username", USER[0], "--password-stdin", HOST, answer=USER[1])
    buildah("build", "--isolation=chroot", "--secret", f"id=auth,src={auth}", "--build-arg", f"BASE={base}",
            "--tag", "app", context)
    layout = tmp_path_factory.mktemp("image")
    buildah("push", "--quiet", "app", f"oci:{layout}:app")
    return layout


def blob(layout, descriptor):
    return layout / "blobs" / descriptor["digest"].replace(":", "/")


def manifest(layout):
    [descriptor] = json.loads((layout / "index.json").read_text())["manifests"]
    return json.loads(blob(layout, descriptor).read_text())


def layers(layout):
    """The layers above the base image, as open tar files."""
    for layer in manifest(layout)["layers"][1:]:
        with tarfile.open(blob(layout, layer)) as archive:
            yield archive


def test_the_package_is_in_the_image(image):
    container = buildah("from", "app").strip()
    assert buildah("run", "--isolation=chroot", container, "--", "cat", "/usr/share/hello/file") == "hello 1\n"
    assert buildah("run", "--isolation=chroot", container, "--", "rpm", "--query", "hello") == "hello-1-1.noarch\n"
    buildah("rm", container)


def test_no_layer_has_a_cache(image):
    names = [f"/{name}" for archive in layers(image) for name in archive.getnames()]
    assert "/usr/share/hello/file" in names
    assert [name for name in names if name.startswith(("/var/cache/", "/run/", "/tmp/", "/root/"))] == []


def test_no_credential_is_in_the_image(image):
    texts = [path.read_bytes() for path in image.rglob("*") if path.is_file()]
    for archive in layers(image):
        texts += [archive.extractfile(member).read() for member in archive if member.isfile()]
        texts.append("\n".join(archive.getnames()).encode())
    assert len(secrets.FORMS) > 2
    for text in texts:
        secrets.check(text.decode(errors="replace"), "the image")
    assert b"auth.json" not in texts[-1]


def test_the_registry_wants_the_credential(registry, base, tmp_path):
    """Without the secret the build fails, and dnf5 says why."""
    shutil.copy(CONTAINERFILE, tmp_path)
    (tmp_path / "tools.repo").write_text(f"[tools]\nname=tools\nbaseurl=oci://{HOST}/acme/rpms:stable\ngpgcheck=0\n")
    (tmp_path / "auth.json").write_text("{}")
    output = run("buildah", *STORAGE, "build", "--isolation=chroot", "--secret",
                 f"id=auth,src={tmp_path}/auth.json", "--build-arg", f"BASE={base}", tmp_path, code=None)
    assert output.code != 0
    output.has("Unauthorized")
