"""The Containerfiles of the documentation, built with buildah."""

import json
import os
import shutil
import tarfile
import textwrap
from pathlib import Path

import pytest

from conftest import PACKAGES
from harness import guide, secrets
from harness.commands import run
from harness.dnf4 import PROGRAM as DNF4
from harness.registry import private_registry
from harness.repository import Repository, build

CONTAINERFILE = Path("/src/integration/packaging/Containerfile")
DOCUMENTATION = Path("/src/docs/credentials.md")
HOST = "registry.example"
USER = ("builder", "a-secret-for-the-build")

# What is in the base image, beside what it depends on. DNF 4, without its plugin, is there for microdnf.
BASE = ("base-files", "coreutils", "dash", "dnf", "dnf5", "libdnf5-plugin-oci")
CONFIGURATION = ("/etc/containers", "/etc/passwd", "/etc/group", "/etc/dnf")

# Storage of images on a file system that overlayfs accepts.
STORAGE = ("--root", "/tmp/storage", "--runroot", "/tmp/storage-run", "--storage-driver", "overlay")


# In the root there is nothing that could start a container in its own namespaces, nor raise limits.
ISOLATION = ("--isolation=chroot", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096")


def buildah(*arguments, **options):
    return run("buildah", *STORAGE, *arguments, **options).output


def with_plugin(context):
    """The image's directory with the Containerfile for dnf5."""
    shutil.copy(CONTAINERFILE, context)
    (context / "tools.repo").write_text(f"[tools]\nname=tools\nbaseurl=oci://{HOST}/acme/rpms:stable\ngpgcheck=0\n")


def with_run(context):
    """The image's directory with the Containerfile for other tools."""
    instructions = guide.block("Containers and CI", "FROM").replace("microdnf", " ".join(DNF4))
    (context / "Containerfile").write_text(instructions)
    repo = guide.block("Containers and CI", "[tools]", f"{HOST}/acme/rpms:stable")
    (context / "tools.repo").write_text(repo.replace("gpgcheck=1", "gpgcheck=0"))


def build_image(context, base, auth, **options):
    """Builds the Containerfile as its comment says."""
    return run("buildah", *STORAGE, "build", *ISOLATION, "--secret", f"id=auth,src={auth}",
               "--build-arg", f"BASE={base}", "--tag", "app", context, **options)


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
             if os.path.lexists(path) and not path.startswith(("/.", "/usr/share/doc", "/usr/share/man"))}
    listed = Path("/tmp/base.files")
    listed.write_text("\n".join(sorted(files)))
    run("tar", "--create", "--file=/tmp/base.tar", "--no-recursion", "--directory=/", f"--files-from={listed}",
        "--recursion", *CONFIGURATION)
    container = buildah("from", "scratch").strip()
    run("tar", "--extract", "--file=/tmp/base.tar", "--directory", buildah("mount", container).strip())
    buildah("commit", "--quiet", "--rm", container, "base")
    return "localhost/base"


@pytest.fixture(scope="module", params=[with_plugin, with_run], ids=lambda prepare: prepare.__name__)
def image(registry, base, tmp_path_factory, request):
    """The image that a Containerfile makes, as a directory in OCI's layout."""
    auth = tmp_path_factory.mktemp("secret") / "auth.json"
    run("skopeo", "login", "--authfile", auth, "--username", USER[0], "--password-stdin", HOST, answer=USER[1])
    context = tmp_path_factory.mktemp("context")
    request.param(context)
    build_image(context, base, auth)
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


def test_the_documentation_has_the_same_file():
    _, _, instructions = CONTAINERFILE.read_text().partition("\n\n")
    assert textwrap.indent(instructions, "    ") in DOCUMENTATION.read_text()


def test_the_package_is_in_the_image(image):
    container = buildah("from", "app").strip()
    root = buildah("mount", container).strip()
    assert Path(root, "usr/share/hello/file").read_text() == "hello 1\n"
    assert run("rpm", "--root", root, "--query", "hello").output == "hello-1-1.noarch\n"
    buildah("rm", container)


def test_only_the_package_is_new(image):
    """No caches, no temporary files. DNF and the service leave empty directories in /run."""
    files = {f"/{member.name}" for archive in layers(image) for member in archive if not member.isdir()}
    state = ("/usr/lib/sysimage/", "/var/lib/dnf/", "/var/lib/rpm/", "/var/log/")
    dnf = {file for file in files if file.startswith(state) or file.endswith(".pyc")}
    assert files - dnf == {"/etc/yum.repos.d/tools.repo", "/usr/share/hello/file"}
    directories = {f"/{member.name}" for archive in layers(image) for member in archive if member.isdir()}
    assert not [name for name in directories if name.startswith("/var/cache/")]


def test_no_credential_is_in_the_image(image):
    packed = {blob(image, layer) for layer in manifest(image)["layers"]}
    texts = [path.read_bytes() for path in image.rglob("*") if path.is_file() and path not in packed]
    for archive in layers(image):
        texts += [archive.extractfile(member).read() for member in archive if member.isfile()]
        texts.append("\n".join(archive.getnames()).encode())
    assert len(secrets.FORMS) > 2
    for text in texts:
        secrets.check(text.decode(errors="replace"), "the image")


@pytest.mark.parametrize("prepare", [with_plugin, with_run])
def test_the_registry_wants_the_credential(base, tmp_path, prepare):
    """Without it the build fails, with the reason."""
    auth = tmp_path / "auth.json"
    auth.write_text("{}")
    context = tmp_path / "context"
    context.mkdir()
    prepare(context)
    result = build_image(context, base, auth, code=None)
    assert result.code != 0
    result.has(f'run "podman login {HOST}"')
