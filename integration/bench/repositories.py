"""The repositories to fetch."""

import gzip
import hashlib
import random
import shutil
import subprocess
from pathlib import Path

from harness.commands import run
from harness.repository import Repository, build

MANY = """
Name: many
Version: 1
Release: 1
Summary: Many packages
License: MIT
BuildArch: noarch
%description
Many packages.
%install
mkdir -p %{{buildroot}}/usr/share/many
cp {payloads}/* %{{buildroot}}/usr/share/many
{packages}
"""

ONE_OF_MANY = """
%package -n {name}
Summary: One of many
AutoReqProv: no
%description -n {name}
One of many.
%files -n {name}
/usr/share/many/{name}
"""

PRIMARY = """<package type="rpm"><name>{name}</name><arch>x86_64</arch>\
<version epoch="0" ver="{version}" rel="1.fc44"/>\
<checksum type="sha256" pkgid="YES">{checksum}</checksum><summary>{summary}</summary>
<description>{description}</description><packager>Packagers</packager>\
<url>https://example.org/{name}</url><time file="1760000000" build="1759000000"/>\
<size package="{size}" installed="{installed}" archive="{installed}"/>\
<location href="Packages/{name}-{version}-1.fc44.x86_64.rpm"/><format>\
<rpm:license>GPL-2.0-or-later AND MIT</rpm:license><rpm:vendor>Vendor</rpm:vendor>\
<rpm:group>Unspecified</rpm:group><rpm:buildhost>builder.example.org</rpm:buildhost>\
<rpm:sourcerpm>{name}-{version}-1.fc44.src.rpm</rpm:sourcerpm>\
<rpm:header-range start="4504" end="{header}"/>
<rpm:provides>{provides}</rpm:provides><rpm:requires>{requires}</rpm:requires>
<file>/usr/bin/{name}</file></format></package>
"""

OTHERS = """<package pkgid="{checksum}" name="{name}" arch="x86_64">\
<version epoch="0" ver="{version}" rel="1.fc44"/>{entries}</package>
"""

NAMESPACES = ('xmlns="http://linux.duke.edu/metadata/{kind}" '
              'xmlns:rpm="http://linux.duke.edu/metadata/rpm"')


def large(directory, size):
    """Creates a repository with one package of `size` bytes, not compressed."""
    return Repository(directory).add(build("large", size=size)).createrepo()


def many(directory, count, size):
    """Creates a repository with `count` packages of `size` bytes, built from one spec."""
    repository = Repository(directory)
    top = Path("/tmp/many")
    payloads = top / "payloads"
    payloads.mkdir(parents=True)
    names = [f"many-{number:03}" for number in range(count)]
    for name in names:
        with (payloads / name).open("wb") as payload:
            subprocess.run(["head", "-c", str(size), "/dev/urandom"], stdout=payload, check=True)
    spec = top / "spec"
    packages = "".join(ONE_OF_MANY.format(name=name) for name in names)
    spec.write_text(MANY.format(payloads=payloads, packages=packages))
    run("rpmbuild", "-bb", "--quiet",
        "--define", f"_topdir {top}",
        "--define", f"_rpmdir {repository.directory}",
        "--define", "_binary_payload w0.ufdio",
        "--define", "_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm",
        spec)
    return repository.createrepo()


def tiny(directory, count):
    """Creates a repository with `count` packages of a few bytes, and one that can be installed, `real`."""
    return synthetic(directory, count, real=build("real"))


def synthetic(directory, count, real=None):
    """Creates the metadata of a repository with `count` packages. For each package, it is as large as that of a
    distribution. With a real package, which is listed as well, the others are made, too."""
    repository = Repository(directory)
    repodata = repository.directory / "repodata"
    repodata.mkdir()
    (repodata / "repomd.xml").write_text(
        f'<repomd {NAMESPACES.format(kind="repo")}><revision>1</revision></repomd>\n')
    lines = entries_of(real) if real else {"primary": [], "filelists": [], "other": []}
    # The same packages whenever the benchmark runs.
    chance = random.Random(count)
    packages = repository.directory / "Packages"
    if real:
        packages.mkdir()
        shutil.copy(real, repository.directory)
    for number in range(count):
        entries, file = describe(chance, number, has_file=real is not None)
        for kind, line in entries.items():
            lines[kind].append(line)
        if real:
            (packages / file).write_bytes(content(number))
    for kind, root in (("primary", "metadata"), ("filelists", "filelists"), ("other", "otherdata")):
        file = repository.directory.parent / f"{kind}.xml"
        file.write_text(f'<?xml version="1.0" encoding="UTF-8"?>\n'
                        f'<{root} {NAMESPACES.format(kind="common" if kind == "primary" else kind)} '
                        f'packages="{len(lines[kind])}">\n{"".join(lines[kind])}</{root}>\n')
        run("modifyrepo_c", f"--mdtype={kind}", "--compress-type=zstd", file, repodata)
        file.unlink()
    return repository


def content(number):
    """The bytes of a package that is only published."""
    return f"package {number}\n".encode()


def entries_of(package):
    """The entries of a real package in the three metadata files."""
    repository = Repository(Path("/tmp/entries")).add(package)
    run("createrepo_c", "--quiet", "--general-compress-type=gz", repository.directory)
    entries = {}
    for kind in ("primary", "filelists", "other"):
        [file] = (repository.directory / "repodata").glob(f"*-{kind}.xml.gz")
        text = gzip.decompress(file.read_bytes()).decode()
        entries[kind] = [text[text.index("<package "):text.rindex("</package>")] + "</package>\n"]
    shutil.rmtree(repository.directory)
    return entries


def describe(chance, number, has_file):
    """The entries of one package in the three metadata files, and the name of its file."""
    words = lambda count: " ".join(chance.choice(WORDS) for _ in range(count))
    package = {
        "name": f"{chance.choice(WORDS)}-{chance.choice(WORDS)}-{number}",
        "version": f"{chance.randrange(9)}.{chance.randrange(40)}.{chance.randrange(9)}",
        "checksum": f"{chance.getrandbits(256):064x}",
    }
    name = package["name"]
    installed = chance.randrange(1000, 10_000_000)
    size = installed // 3
    if has_file:
        size = len(content(number))
        package["checksum"] = hashlib.sha256(content(number)).hexdigest()
    libraries = [f"lib{chance.choice(WORDS)}.so.{chance.randrange(9)}()(64bit)" for _ in range(8)]
    files = [f"/usr/share/{name}/{chance.choice(WORDS)}/{chance.choice(WORDS)}-{file}"
             for file in range(chance.randrange(60))]
    changes = [f'<changelog author="Somebody &lt;somebody@example.org&gt; - {release}" '
               f'date="{1750000000 + release * 86400}">- {words(8)}</changelog>'
               for release in range(6)]
    entries = {
        "primary": PRIMARY.format(
            **package,
            summary=words(6), description=words(chance.randrange(20, 120)),
            size=size, installed=installed, header=4504 + chance.randrange(90_000),
            provides="".join(f'<rpm:entry name="{other}" flags="EQ" epoch="0" '
                             f'ver="{package["version"]}" rel="1.fc44"/>'
                             for other in (name, f"{name}(x86-64)", libraries[0])),
            requires="".join(f'<rpm:entry name="{library}"/>' for library in libraries[1:])),
        "filelists": OTHERS.format(
            **package, entries="".join(f"<file>{file}</file>" for file in files)),
        "other": OTHERS.format(**package, entries="".join(changes)),
    }
    return entries, f"{name}-{package['version']}-1.fc44.x86_64.rpm"


def vocabulary():
    chance = random.Random(1)
    return ["".join(chance.choice("bdfgklmnprst") + chance.choice("aeiou") for _ in range(length))
            for length in (1, 2, 3, 4) for _ in range(500)]


WORDS = vocabulary()
