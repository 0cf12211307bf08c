"""`dnf5-oci publish` and its family, packages in numbers, and what is in the registry afterwards."""

import hashlib
import json
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

from . import secrets
from .artifact import MANIFEST
from .commands import Result, run
from .faulty import INDEX, TITLE
from .repository import BUILT

REPOSITORY = "application/vnd.io.github.dnf5-oci.repository.v1"
SEGMENT = "application/vnd.io.github.dnf5-oci.segment.v1"
PACKAGE = "application/x-rpm"

# So that a repository has segments with few packages.
FEW = ("--layers-per-manifest", "20")

HEAD = """
Name: many
Version: {version}
Release: 1
Summary: Packages for tests
License: MIT
BuildArch: noarch
AutoReqProv: no
%global __os_install_post %{{nil}}
%description
Packages for tests.
%install
mkdir -p %{{buildroot}}/usr/share
cp -r {payload} %{{buildroot}}/usr/share/many
"""
ONE = """
%package -n {name}
Summary: A package for tests
AutoReqProv: no
%description -n {name}
A package for tests.
%files -n {name}
/usr/share/many/{name}
"""


def many(names, version="1", size=0):
    """Builds a package of each name, each with one file of random bytes besides its name: some hundred take some
    seconds. Returns them in the order of the names. Equal ones are built once."""
    names = list(names)
    key = hashlib.sha256(" ".join([*names, version, str(size)]).encode()).hexdigest()[:16]
    top = BUILT / f"many-{key}"
    if not top.exists():
        payload = top / "payload"
        payload.mkdir(parents=True)
        for name in names:
            (payload / name).write_bytes(f"{name} {version}\n".encode() + os.urandom(size))
        spec = top / "spec"
        spec.write_text(HEAD.format(version=version, payload=payload) + "".join(ONE.format(name=n) for n in names))
        run("rpmbuild", "-bb", "--quiet", "--define", f"_topdir {top}/top", "--define", f"_rpmdir {top}/rpms",
            "--define", "_binary_payload w0.ufdio",
            "--define", "_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm", spec)
    return [top / f"rpms/{name}-{version}-1.noarch.rpm" for name in names]


def numbered(count, prefix="p"):
    """Names of packages: p0000, p0001, …"""
    return [f"{prefix}{number:04}" for number in range(count)]


def filled(repository, packages):
    for package in packages:
        repository.add(package)
    return repository


def through(front, reference):
    """The same repository, seen through a front."""
    return reference.replace(reference.partition("/")[0], front.address)


def install(dnf, *names):
    """Has dnf5 fetch packages, with nothing cached."""
    dnf("clean", "all")
    dnf("-y", "install", "--downloadonly", *names).has("Complete!")


def command(*arguments, code=0, **options):
    """Runs dnf5-oci and returns its result."""
    return run("dnf5-oci", *arguments, code=code, **options)


def refused(*arguments, **options):
    """Runs dnf5-oci, which must fail, and returns the line that says why."""
    result = command(*arguments, "--quiet", code=1, **options)
    assert len(result.output.splitlines()) == 1, result
    return result


def outcome(*arguments, **options):
    """Runs dnf5-oci with --json and returns the object that it prints, as attributes."""
    arguments = ["dnf5-oci", *map(str, arguments), "--json", "--quiet"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=600, check=False, **options)
    secrets.check(done.stdout + done.stderr, "the output of dnf5-oci")
    assert done.returncode == 0, Result(arguments, done.returncode, done.stdout + done.stderr)
    assert done.stderr == "", done.stderr
    return SimpleNamespace(**{key.replace("-", "_"): value for key, value in json.loads(done.stdout).items()})


def publish(directory, reference, *options, **how):
    return outcome("publish", getattr(directory, "directory", directory), reference, *options, **how)


def add(reference, *packages, **how):
    return outcome("add", reference, *packages, **how)


def remove(reference, *packages, **how):
    return outcome("remove", reference, *packages, **how)


def verify(reference, *options):
    """Has dnf5-oci check everything in the registry."""
    return command("verify", reference, "--deep", *options)


def garbage_collect(registry):
    """Deletes the blobs that no manifest in docker-registry names. Not with --delete-untagged: before version 3,
    that deletes what only an index leads to."""
    registry.stop()
    try:
        return run("docker-registry", "garbage-collect", registry.config)
    finally:
        registry.start()


def delete_manifests(registry, tree, kept):
    """Deletes the manifests of a state from docker-registry, except those that another state has, too."""
    for digest in {tree.digest, *tree.digests()} - {kept.digest, *kept.digests()}:
        connection = registry.connection()
        connection.request("DELETE", f"/v2/{tree.path}/manifests/{digest}")
        assert connection.getresponse().status == 202
        connection.close()


class Tree:
    """What a reference leads to.

    digest    of the manifest or the index
    index     the index, or None
    metadata  the manifests with metadata
    segments  the manifests of packages, oldest first
    """

    def __init__(self, registry, reference):
        path, _, tag = reference.removeprefix(f"{registry.address}/").replace("@", ":", 1).partition(":")
        self.registry = registry
        self.path = path
        self.digest, top = self.manifest(tag)
        self.index = top if top["mediaType"] == INDEX else None
        entries = top["manifests"] if self.index else []
        found = [(entry, self.manifest(entry["digest"])[1]) for entry in entries]
        self.metadata = [manifest for entry, manifest in found if not is_segment(entry)] if self.index else [top]
        self.segments = [manifest for entry, manifest in found if is_segment(entry)]

    def manifest(self, tag):
        connection = self.registry.connection()
        connection.request("GET", f"/v2/{self.path}/manifests/{tag}", headers={"Accept": f"{INDEX}, {MANIFEST}"})
        response = connection.getresponse()
        body = response.read()
        assert response.status == 200, f"{self.path}:{tag}: {response.status} {body}"
        connection.close()
        return "sha256:" + hashlib.sha256(body).hexdigest(), json.loads(body)

    def packages(self):
        """The digest of each package, by its title."""
        layers = [layer for manifest in (*self.metadata, *self.segments) for layer in manifest["layers"]]
        return {title(layer): layer["digest"] for layer in layers if layer["mediaType"] == PACKAGE}

    def digests(self):
        """The digests of the index's manifests."""
        return [entry["digest"] for entry in self.index["manifests"]] if self.index else []


def is_segment(entry):
    return entry.get("platform", {}).get("os") == "unknown"


def title(layer):
    return layer.get("annotations", {}).get(TITLE)


def tag_digest(registry, reference):
    """The digest of what a tag leads to, or None."""
    path, _, tag = reference.removeprefix(f"{registry.address}/").partition(":")
    connection = registry.connection()
    connection.request("HEAD", f"/v2/{path}/manifests/{tag}", headers={"Accept": f"{INDEX}, {MANIFEST}"})
    response = connection.getresponse()
    connection.close()
    return response.getheader("Docker-Content-Digest") if response.status == 200 else None


def sha256(path):
    return "sha256:" + hashlib.sha256(Path(path).read_bytes()).hexdigest()


def left_behind():
    """Temporary files of dnf5-oci's commands."""
    return [path for top in (Path("/tmp"), Path("/var/tmp")) for path in top.glob("dnf5-oci-*")]
