"""A repository of segments, made by hand as dnf5-oci-layout(7) says."""

import base64
import hashlib
import json
import re
from datetime import UTC, datetime

import zstandard

from .artifact import MANIFEST, Artifact

VENDOR = "application/vnd.io.github.dnf5-oci"
REPOSITORY = f"{VENDOR}.repository.v1"
SEGMENT = f"{VENDOR}.segment.v1"
FILE = f"{VENDOR}.file.v1"
LOCATIONS = f"{VENDOR}.locations.v1"
PACKAGE = "application/x-rpm"
EMPTY = "application/vnd.oci.empty.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"

TITLE = "org.opencontainers.image.title"
CREATED = "org.opencontainers.image.created"

# Files whose descriptors have their content, and how large they may be.
EMBEDDED = ("repomd.xml", "repomd.xml.asc")
MAX_EMBEDDED = 16 * 1024

TIMESTAMP = re.compile(rb"<timestamp>(\d+)")


class Segmented:
    """An index that is being pushed to REGISTRY/NAME.

    packages   the digest of each package, by its location
    segments   the variant and the digest of each segment, and the locations of its packages
    locations  the digests of the layers with the locations
    embeds     whether descriptors have the content of small files
    """

    def __init__(self, registry, name, embeds=True):
        self.artifact = Artifact(registry, name)
        self.packages = {}
        self.sizes = {}
        self.segments = []
        self.locations = []
        self.embeds = embeds
        self.entries = []
        self.created = []

    def blob(self, content, media_type, **fields):
        return self.artifact.blob(content) | {"mediaType": media_type} | fields

    def titled(self, title, content, media_type, **fields):
        return self.blob(content, media_type, annotations={TITLE: title}, **fields)

    def manifest(self, artifact_type, layers, **fields):
        """Pushes a manifest by its digest; returns its descriptor."""
        config = self.blob(b"{}", EMPTY, data="e30=")
        document = {"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": artifact_type,
                    "config": config, "layers": layers} | fields
        return self.put(document) | {"artifactType": artifact_type}

    def put(self, document, tag=None):
        content = json.dumps(document).encode()
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        url = f"/v2/{self.artifact.name}/manifests/{tag or digest}"
        self.artifact.request("PUT", url, 201, content, {"Content-Type": document["mediaType"]})
        return {"mediaType": document["mediaType"], "digest": digest, "size": len(content)}

    def segment(self, packages):
        """Adds a segment of packages, given by their locations."""
        layers = [self.titled(location, content, PACKAGE)
                  for location, content in sorted(packages.items())]
        entry = self.manifest(SEGMENT, layers)
        variant = "s" + entry["digest"].removeprefix("sha256:")[:16]
        self.segments.append((variant, entry["digest"], sorted(packages)))
        for location, layer in zip(sorted(packages), layers, strict=True):
            self.packages[location] = layer["digest"]
            self.sizes[location] = layer["size"]
        platform = {"os": "unknown", "architecture": "unknown", "variant": variant}
        self.entries.append(entry | {"platform": platform})
        return self

    def metadata(self, repository, arch=None, change=None):
        """Adds the metadata of a directory, whose packages the segments have. `change` makes another table of
        locations from the right one; without locations if it returns nothing."""
        files = {path.name: path.read_bytes() for path in (repository.directory / "repodata").iterdir()}
        layers = []
        for name, content in sorted(files.items()):
            embedded = {}
            if self.embeds and name in EMBEDDED and len(content) <= MAX_EMBEDDED:
                embedded = {"data": base64.b64encode(content).decode()}
            layers.append(self.titled(f"repodata/{name}", content, FILE, **embedded))
        locations = [name for name in repository.files() if name.endswith(".rpm")]
        table = self.table(locations)
        table = change(table) if change else table
        if table is not None:
            counts = {"io.github.dnf5-oci.packages": str(len(locations)),
                      "io.github.dnf5-oci.segments": str(len(self.segments))}
            layers.append(self.blob(zstandard.compress(table), LOCATIONS, annotations=counts))
            self.locations.append(layers[-1]["digest"])
        newest = max(int(time) for time in TIMESTAMP.findall(files["repomd.xml"]))
        created = datetime.fromtimestamp(newest, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.created.append(created)
        entry = self.manifest(REPOSITORY, layers, annotations={CREATED: created})
        platform = {"platform": {"os": "linux", "architecture": arch}} if arch else {}
        position = len(self.entries) - len(self.segments)
        self.entries.insert(position, entry | platform)
        return self

    def table(self, locations):
        numbers = {location: number for number, (_, _, titles) in enumerate(self.segments)
                   for location in titles}
        lines = ["locations 1", " ".join(variant for variant, _, _ in self.segments)]
        for location in sorted(locations, key=str.encode):
            digest = self.packages[location].removeprefix("sha256:")
            lines.append(f"{digest} {self.sizes[location]} {numbers[location]} {location}")
        return "".join(f"{line}\n" for line in lines).encode()

    def push(self, tag):
        """Pushes the index, which is what makes all of it visible."""
        index = {"schemaVersion": 2, "mediaType": INDEX, "artifactType": REPOSITORY,
                 "manifests": self.entries, "annotations": {CREATED: max(self.created)}}
        self.put(index, tag)
        self.artifact.connection.close()
        return self


def segmented(registry, reference, repository, per_segment=1, change=None, embeds=True):
    """Pushes a directory to a reference as an index of segments with that many packages each."""
    name, _, tag = reference.removeprefix(f"{registry.address}/").rpartition(":")
    pushed = Segmented(registry, name, embeds)
    packages = [path for path in repository.files() if path.endswith(".rpm")]
    for first in range(0, len(packages), per_segment):
        some = packages[first:first + per_segment]
        pushed.segment({path: (repository.directory / path).read_bytes() for path in some})
    return pushed.metadata(repository, change=change).push(tag)
