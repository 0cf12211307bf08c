"""Artifacts built by hand: with names that oras does not accept, or with many layers."""

import gzip
import hashlib
import http.client
import io
import json
import tarfile

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def tar(files):
    """A tar of files, and of symbolic links, which are given by their targets as text."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


class Artifact:
    """An artifact that is being pushed to REGISTRY/NAME. A layer may have no title."""

    def __init__(self, registry, name):
        self.connection = http.client.HTTPConnection("localhost", registry.port)
        self.name = name
        self.layers = []
        self.pushed = {}

    def blob(self, content):
        """Pushes a blob; returns its descriptor."""
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        if digest not in self.pushed:
            upload = self.request("POST", f"/v2/{self.name}/blobs/uploads/", 202).getheader("Location")
            self.request("PUT", f"{upload}&digest={digest}", 201, content)
            self.pushed[digest] = {"mediaType": "application/octet-stream", "digest": digest,
                                   "size": len(content)}
        return self.pushed[digest]

    def file(self, title, content):
        """Adds a layer that is one file."""
        self.add(title, content)
        return self

    def directory(self, title, files):
        """Adds a layer with the files of a directory, given by their names in it."""
        packed = tar({f"{title}/{name}": content for name, content in files.items()})
        return self.packed(title, gzip.compress(packed, 1))

    def packed(self, title, content):
        """Adds a layer that is marked as a directory."""
        self.add(title, content, {"io.deis.oras.content.unpack": "true"})
        return self

    def add(self, title, content, annotations=()):
        titled = {"org.opencontainers.image.title": title} if title else {}
        self.layers.append(self.blob(content) | {"annotations": titled | dict(annotations)})

    def push(self, tag):
        config = self.blob(b"{}") | {"mediaType": "application/vnd.oci.empty.v1+json"}
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": self.layers}
        self.request("PUT", f"/v2/{self.name}/manifests/{tag}", 201, json.dumps(manifest).encode(),
                     {"Content-Type": MANIFEST})
        self.connection.close()

    def request(self, method, url, status, body=b"", headers=None):
        self.connection.request(method, url, body, headers or {})
        response = self.connection.getresponse()
        answer = response.read()
        assert response.status == status, f"{method} {url}: {response.status} {answer}"
        return response
