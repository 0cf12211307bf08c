"""Whether what is in a registry is as dnf5-oci-layout(7) says."""

import base64
import re

import zstandard

from .faulty import TITLE
from .publishing import PACKAGE, REPOSITORY, SEGMENT, Tree, is_segment, title

FILE = "application/vnd.io.github.dnf5-oci.file.v1"
LOCATIONS = "application/vnd.io.github.dnf5-oci.locations.v1"
REMOVED = "application/vnd.io.github.dnf5-oci.removed.v1"
EMPTY = {"mediaType": "application/vnd.oci.empty.v1+json", "size": 2, "data": "e30=",
         "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}
CREATED = "org.opencontainers.image.created"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
ENTRY = re.compile("([0-9a-f]{64}) ([0-9]+) ([0-9]+) (.+)")
LIMIT = 200 << 10


def conforms(registry, reference, layers=400):
    """Asserts that a repository is as the specification says. Returns what the reference leads to."""
    tree = Tree(registry, reference)
    for manifest in (*tree.metadata, *tree.segments):
        assert manifest["config"] == EMPTY
        assert len(manifest["layers"]) <= layers
        assert not [layer for layer in manifest["layers"] if layer["mediaType"].endswith("tar+zstd")]
    for segment in tree.segments:
        is_a_segment(segment)
    for manifest in tree.metadata:
        has_metadata(tree, manifest)
    if tree.index:
        is_an_index(tree)
    return tree


def is_an_index(tree):
    index, entries = tree.index, tree.index["manifests"]
    assert index["artifactType"] == REPOSITORY
    assert len(entries) <= 500
    assert index["annotations"][CREATED] == max(found["annotations"][CREATED] for found in tree.metadata)
    metadata = [entry for entry in entries if not is_segment(entry)]
    assert entries[:len(metadata)] == metadata, "the metadata is first"
    assert all(entry["artifactType"] == REPOSITORY for entry in metadata)
    if "platform" in metadata[0]:
        platforms = [entry["platform"] for entry in metadata]
        assert all(platform["os"] == "linux" for platform in platforms)
        architectures = [platform["architecture"] for platform in platforms]
        assert architectures == sorted(set(architectures))
    else:
        assert len(metadata) == 1
    for entry in entries[len(metadata):]:
        assert entry["artifactType"] == SEGMENT
        variant = "s" + entry["digest"].removeprefix("sha256:")[:16]
        assert entry["platform"] == {"os": "unknown", "architecture": "unknown", "variant": variant}


def is_a_segment(segment):
    assert segment["artifactType"] == SEGMENT
    assert "annotations" not in segment
    assert {layer["mediaType"] for layer in segment["layers"]} == {PACKAGE}
    titles = [title(layer) for layer in segment["layers"]]
    assert titles == sorted(titles)
    assert all(set(layer["annotations"]) == {TITLE} for layer in segment["layers"])


def has_metadata(tree, manifest):
    assert manifest["artifactType"] == REPOSITORY
    assert TIME.fullmatch(manifest["annotations"][CREATED])
    layers = manifest["layers"]
    titled = [title(layer) for layer in layers if title(layer)]
    assert [title(layer) for layer in layers][:len(titled)] == sorted(titled), "sorted, those without title last"
    by_title = {title(layer): layer for layer in layers}
    for name in {"repodata/repomd.xml", "repodata/repomd.xml.asc"} & set(by_title):
        inlined = base64.b64decode(by_title[name]["data"])
        assert inlined == blob(tree, by_title[name]), name
    listed = re.findall(r'href="(repodata/[^"]+)"', blob(tree, by_title["repodata/repomd.xml"]).decode())
    assert set(listed) <= set(by_title)
    assert all(by_title[name]["mediaType"] == FILE for name in listed)
    packages = [layer for layer in layers if layer["mediaType"] == PACKAGE]
    if tree.segments:
        assert not packages
        has_locations(tree, *(layer for layer in layers if layer["mediaType"] == LOCATIONS))
    else:
        assert LOCATIONS not in {layer["mediaType"] for layer in layers}


def has_locations(tree, layer):
    text = zstandard.ZstdDecompressor().decompressobj().decompress(blob(tree, layer)).decode()
    first, second, *lines = text.removesuffix("\n").split("\n")
    assert first == "locations 1"
    variants = [entry["platform"]["variant"] for entry in tree.index["manifests"] if is_segment(entry)]
    listed = second.split(" ")
    # Of several architectures, one may have been published before another one's segments came.
    assert listed == [variant for variant in variants if variant in listed]
    annotations = layer["annotations"]
    assert annotations["io.github.dnf5-oci.packages"] == str(len(lines))
    assert annotations["io.github.dnf5-oci.segments"] == str(len(listed))
    locations = [line.split(" ", 3)[3] for line in lines]
    assert locations == sorted(locations, key=str.encode)
    for line in lines:
        digest, size, segment, _location = ENTRY.fullmatch(line).groups()
        layers = tree.segments[variants.index(listed[int(segment)])]["layers"]
        found = [layer for layer in layers if layer["digest"] == f"sha256:{digest}"]
        assert found and found[0]["size"] == int(size), line


def blob(tree, layer):
    """The content of a layer."""
    return tree.registry.blob(layer["digest"]).read_bytes()
