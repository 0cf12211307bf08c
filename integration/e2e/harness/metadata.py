"""Metadata made by hand: of packages that do not exist, or hostile."""

import hashlib

HEAD = '<metadata xmlns="http://linux.duke.edu/metadata/common">'
TAIL = "</metadata>"
PACKAGE = (
    '<package type="rpm"><name>{name}</name><arch>noarch</arch><version epoch="0" ver="1" rel="1"/>'
    '<checksum type="sha256" pkgid="YES">{sha256}</checksum><size package="{size}" installed="1"'
    ' archive="1"/><location href="{location}"/></package>\n'
)


def package(location, content=b"", size=None, sha256=None):
    """An entry of primary.xml."""
    return PACKAGE.format(
        name=location.rsplit("/", 1)[-1].removesuffix(".rpm"), location=location,
        size=len(content) if size is None else size,
        sha256=sha256 or hashlib.sha256(content).hexdigest(),
    )


def primary(*packages):
    return (HEAD + "".join(packages) + TAIL).encode()


def repomd(content, name="primary.xml"):
    """A repomd.xml that lists the primary metadata."""
    return (
        '<repomd xmlns="http://linux.duke.edu/metadata/repo"><data type="primary">'
        f'<checksum type="sha256">{hashlib.sha256(content).hexdigest()}</checksum>'
        f'<location href="repodata/{name}"/><size>{len(content)}</size></data></repomd>'
    ).encode()


def add(artifact, content, name="primary.xml"):
    """Adds the primary metadata, however compressed, and its repomd.xml to an artifact."""
    artifact.file("repodata/repomd.xml", repomd(content, name))
    return artifact.file(f"repodata/{name}", content)
