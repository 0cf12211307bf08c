"""RPM repositories: building, createrepo and pushing."""

import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import zstandard

from .commands import run

SPEC = """
Name: {name}
Version: {version}
Release: 1
Summary: A package for tests
License: MIT
{arch}
{tags}
%description
A package for tests.
%install
mkdir -p %{{buildroot}}/usr/share/{name}
cp {payload} %{{buildroot}}/usr/share/{name}/file
%files
/usr/share/{name}
"""

# A group with one package.
COMPS = """<?xml version="1.0" encoding="UTF-8"?>
<comps><group><id>tools</id><name>Tools</name><description>Tools</description>
<default>true</default><uservisible>true</uservisible>
<packagelist><packagereq type="mandatory">{package}</packagereq></packagelist></group></comps>
"""

# An advisory about version 2 of the package app.
ADVISORY = """<?xml version="1.0" encoding="UTF-8"?>
<updates><update from="test" status="stable" type="security" version="1"><id>TEST-1</id>
<title>A fix</title><issued date="2026-01-01 00:00:00"/><severity>Important</severity>
<description>It was broken.</description><pkglist><collection short="t"><name>t</name>
<package name="app" version="2" release="1" epoch="0" arch="noarch"><filename>app-2-1.noarch.rpm
</filename></package></collection></pkglist></update></updates>
"""

BUILT = Path("/tmp/built-packages")


def build(name, version="1", content=None, size=0, arch="noarch", tags=""):
    """Builds a package with one file, /usr/share/NAME/file. Equal packages are built once."""
    content = f"{name} {version}\n" if content is None else content
    key = f"{name}-{version}-{arch}-{size}-{abs(hash((content, tags)))}"
    target = BUILT / key / f"{name}-{version}-1.{arch}.rpm"
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    payload = target.parent / "payload"
    with payload.open("wb") as file:
        file.write(content.encode())
        if size:
            # Random, because it must not be compressible.
            subprocess.run(["head", "-c", str(size), "/dev/urandom"], stdout=file, check=True)
    spec = target.parent / "spec"
    # rpmbuild accepts only the machine's own BuildArch, but any target.
    build_arch = "BuildArch: noarch" if arch == "noarch" else ""
    spec.write_text(SPEC.format(name=name, version=version, arch=build_arch, tags=tags, payload=payload))
    run("rpmbuild", "-bb", "--quiet", "--target", arch,
        "--define", f"_topdir {target.parent}/top",
        "--define", f"_rpmdir {target.parent}",
        "--define", "_binary_payload w0.ufdio",
        "--define", "_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm",
        spec)
    payload.unlink()
    return target


class Repository:
    """A directory with packages and their metadata."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True)

    def add(self, package, below=""):
        """Copies a package into the repository, or into its subdirectory `below`."""
        directory = self.directory / below
        directory.mkdir(parents=True, exist_ok=True)
        shutil.copy(package, directory)
        return self

    def createrepo(self, *options):
        """Creates the metadata. The revision makes the layer unique: an equal one of another test would
        already be unpacked."""
        run("createrepo_c", "--quiet", "--revision", self.directory, *options, self.directory)
        return self

    def top(self):
        return sorted(entry.name for entry in self.directory.iterdir())

    def files(self):
        return sorted(
            str(path.relative_to(self.directory))
            for path in self.directory.rglob("*") if path.is_file()
        )

    def push(self, reference, *names, options=(), directory=None):
        """Pushes files and directories as `oras push REF *` does, or only those named. Returns
        the digest of the manifest."""
        tls = [] if "tls" in options else ["--plain-http"]
        options = [option for option in options if option != "tls"]
        result = run("oras", "push", *tls, *options, "--format", "json", reference,
                     *(names or self.top()), cwd=directory or self.directory)
        text = result.output
        return json.loads(text[text.index("{"):])["digest"]

    def push_files(self, reference, **options):
        """Pushes every file as a layer."""
        return self.push(reference, *self.files(), **options)

    def push_with_archive(self, reference, archive, **options):
        """Pushes the packages, and an archive as the layer of the metadata."""
        archive = Path(archive)
        annotations = self.directory.parent / (self.directory.name + ".annotations")
        annotations.write_text(json.dumps({archive.name: {
            "org.opencontainers.image.title": "repodata",
            "io.deis.oras.content.unpack": "true",
        }}))
        target = self.directory / archive.name
        shutil.move(archive, target)
        try:
            names = [name for name in self.top() if name != "repodata"]
            return self.push(reference, *names, options=["--annotation-file", annotations], **options)
        finally:
            target.unlink()

    def archive(self, compression, target):
        """Packs the metadata as "tar", "gz" or "zst"."""
        plain = Path(f"{target}.plain")
        with tarfile.open(plain, "w:gz" if compression == "gz" else "w") as archive:
            archive.add(self.directory / "repodata", "repodata")
        if compression == "zst":
            plain.write_bytes(zstandard.compress(plain.read_bytes()))
        return plain.rename(target)
