"""A registry and a plain web server that fail as scripted."""

import gzip
import hashlib
import io
import json
import os
import re
import socket
import struct
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
TITLE = "org.opencontainers.image.title"
UNPACK = "io.deis.oras.content.unpack"

# How long the server waits where it stalls, in seconds; the client is expected to leave earlier.
FOR_EVER = 600

STATUS = {"500": 500, "502": 502, "503": 503, "429": 429, "429-retry": 429, "401": 401, "403": 403, "404": 404}

# What a registry says in its own format.
CODES = {429: "TOOMANYREQUESTS", 401: "UNAUTHORIZED", 403: "DENIED", 404: "NAME_UNKNOWN"}

HTML = b"<!DOCTYPE html><html><head><title>Log in</title></head><body>Please log in</body></html>\n"


class Fault:
    """What happens to requests of one kind.

    times   how many requests fail, before the others succeed; None: all
    delay   seconds in Retry-After
    """

    def __init__(self, what, request, times=None, delay=1):
        self.what = what
        self.request = request
        self.times = times
        self.delay = delay


class Faulty:
    """One repository on a port of its own, as an artifact behind an index and as plain files below /plain.
    Requests need a token, which everyone gets.

    layout     "files": each file is a layer; "directory": packages are in one
    fault      what fails
    requests   (kind, path) of each request that was understood, in order
    """

    def __init__(self, repository, layout="files", fault=None):
        self.fault = fault
        self.requests = []
        self.lock = threading.Lock()
        self.kinds = {"/v2/": "ping", "/token": "token"}
        self.content = {}
        self.publish(Path(repository), layout)
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.faulty = self
        self.port = self.server.server_address[1]
        self.url = f"http://localhost:{self.port}/plain"
        self.reference = f"localhost:{self.port}/acme/rpms:1"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def publish(self, repository, layout):
        files = {str(path.relative_to(repository)): path.read_bytes()
                 for path in sorted(repository.rglob("*")) if path.is_file()}
        for name, content in files.items():
            kind = "metadata" if name.startswith("repodata/") else "package"
            if name.endswith("repomd.xml"):
                kind = "manifest"
            self.add(f"/plain/{name}", content, kind)
        layers = []
        for name, content in files.items():
            if layout == "files" or name.startswith("repodata/"):
                kind = "metadata" if name.startswith("repodata/") else "package"
                if not name.endswith("primary.xml.zst") and kind == "metadata":
                    kind = "other"
                layers.append(self.blob(content, kind) | {"annotations": {TITLE: name}})
        if layout == "directory":
            packages = {name: content for name, content in files.items() if not name.startswith("repodata/")}
            # Another layer each time: an equal one would already be unpacked.
            packages["Packages/unique"] = str(repository).encode() + os.urandom(16)
            layers.append(self.blob(pack(packages), "directory")
                          | {"annotations": {TITLE: "Packages", UNPACK: "true"}})
        config = self.blob(b"{}", "other") | {"mediaType": "application/vnd.oci.empty.v1+json"}
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}
        entry = self.manifest(manifest, "manifest")
        platforms = [{"architecture": name, "os": "linux"} for name in ("amd64", "arm64")]
        index = {"schemaVersion": 2, "mediaType": INDEX,
                 "manifests": [entry | {"platform": platform} for platform in platforms]}
        self.manifest(index, "index", "1")

    def add(self, path, content, kind, media_type="application/octet-stream"):
        self.kinds[path] = kind
        self.content[path] = (content, media_type)

    def blob(self, content, kind):
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        self.add(f"/v2/acme/rpms/blobs/{digest}", content, kind)
        return {"mediaType": "application/octet-stream", "digest": digest, "size": len(content)}

    def manifest(self, manifest, kind, tag=None):
        content = json.dumps(manifest).encode()
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        self.add(f"/v2/acme/rpms/manifests/{tag or digest}", content, kind, manifest["mediaType"])
        return {"mediaType": manifest["mediaType"], "digest": digest, "size": len(content)}

    def fails(self, path):
        """Whether this request fails. Counts it."""
        kind = self.kinds.get(path)
        with self.lock:
            self.requests.append((kind, path))
            fault = self.fault
            if not fault or kind != fault.request or fault.times == 0:
                return False
            if fault.times:
                fault.times -= 1
            return True

    def count(self, kind):
        """How many requests of this kind there were."""
        return sum(found == kind for found, _ in self.requests)

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


def pack(files):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return gzip.compress(packed.getvalue(), 1)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        """Clients leave in the middle, as they should."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        faulty = self.server.faulty
        path = self.path.partition("?")[0]
        if path.startswith("/v2/") and "Authorization" not in self.headers and path != "/v2/":
            return self.challenge()
        if faulty.fails(path):
            return self.fail(faulty.fault, path)
        if path == "/v2/":
            return self.challenge()
        return self.right(path)

    do_HEAD = do_GET

    def right(self, path):
        if path == "/token":
            return self.answer(200, b'{"token": "t", "expires_in": 3600}', "application/json")
        found = self.server.faulty.content.get(path)
        if not found:
            return self.answer(404, b"")
        content, media_type = found
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if start:
            first = int(start[1])
            extra = {"Content-Range": f"bytes {first}-{len(content) - 1}/{len(content)}"}
            return self.answer(206, content[first:], media_type, extra)
        return self.answer(200, content, media_type)

    def body(self, path):
        """The right body of a request."""
        if path == "/token":
            return b'{"token": "t", "expires_in": 3600}', "application/json"
        return self.server.faulty.content.get(path, (b"{}", "application/json"))

    def challenge(self):
        realm = f'Bearer realm="http://localhost:{self.server.faulty.port}/token",service="s"'
        self.answer(401, error(401), "application/json", {"WWW-Authenticate": realm})

    def fail(self, fault, path):
        what = fault.what
        if what in STATUS:
            status = STATUS[what]
            extra = {"Retry-After": str(fault.delay)} if what == "429-retry" else {}
            return self.answer(status, error(status), "application/json", extra)
        if what == "html":
            return self.answer(200, HTML, "text/html")
        if what == "loop":
            return self.answer(302, b"", extra={"Location": path})
        if what == "reset":
            return self.reset()
        if what == "silence":
            return time.sleep(FOR_EVER)
        body, media_type = self.body(path)
        if what == "flip":
            return self.answer(200, flipped(body), media_type)
        if what == "length":
            return self.answer(200, body[:-1], media_type)
        self.head(200, len(body), media_type)
        half = len(body) // 2
        if what == "drip":
            self.drip(body)
        else:
            self.wfile.write(body[:half])
            self.wfile.flush()
            if what == "stall":
                time.sleep(FOR_EVER)
        self.close_connection = True
        return None

    def drip(self, body):
        for byte in body:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            time.sleep(0.2)

    def reset(self):
        """Closes the connection with RST."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()
        self.wfile = io.BytesIO()

    def answer(self, status, body, media_type="text/plain", extra=()):
        self.head(status, len(body), media_type, extra)
        if self.command != "HEAD":
            self.wfile.write(body)

    def head(self, status, length, media_type, extra=()):
        self.send_response(status)
        for name, value in {"Content-Type": media_type, "Content-Length": str(length), **dict(extra)}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *arguments):
        """Nothing: a scenario asks for `requests`."""


def error(status):
    code = CODES.get(status, "UNKNOWN")
    return json.dumps({"errors": [{"code": code, "message": f"scripted {status}"}]}).encode()


def flipped(body):
    """The body with a bit changed in the middle of it."""
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1:]
