"""A front of a registry with the limits that hosted registries have."""

import http.client
import json
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler

from .faulty import Handler as FaultyHandler
from .faulty import Server

# The kind of a request, by a part of its path.
KINDS = {"/blobs/uploads/": "upload", "/blobs/": "blob", "/manifests/": "manifest", "/tags/": "tags"}

# Headers that are about one connection only.
OWN_HEADERS = ("connection", "transfer-encoding", "content-length", "keep-alive")


class Front:
    """A registry on another port.

    layers          the most layers that a manifest may have, as at Amazon ECR
    manifest_bytes  the most bytes that a manifest may have, as at gitlab.com
    throttled       of how many requests one is answered with 429 and `Retry-After: 1`
    unavailable     of how many requests one is answered with 503
    busy            how many of the next requests of a (method, kind) are answered with 429
    cut             of how many uploads one is cut off in the middle
    read_only       whether it refuses whatever writes
    delay           how long each request takes, in seconds, as over a distance
    before_manifest is called with the tag or digest before a manifest is stored
    half_sent       is called with the digest when half of a blob has been sent
    requests        (method, kind, path) of each request, in order
    """

    def __init__(self, registry):
        self.target = registry.port
        self.layers = self.manifest_bytes = None
        self.throttled = self.unavailable = self.cut = None
        self.busy = Counter()
        self.read_only = False
        self.delay = 0
        self.before_manifest = self.half_sent = None
        self.requests = []
        self.numbers = Counter()
        self.lock = threading.Lock()
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.front = self
        self.port = self.server.server_address[1]
        self.address = f"localhost:{self.port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def clear(self):
        """Forgets the requests until now."""
        with self.lock:
            self.requests.clear()

    def count(self, method, kind):
        """How many requests there were with this method, for an object of this kind."""
        return sum((method, kind) == found[:2] for found in self.requests)

    def turn(self, name, every):
        """Whether it is the turn of a request to fail: the last of `every`."""
        if not every:
            return False
        with self.lock:
            self.numbers[name] += 1
            return self.numbers[name] % every == 0

    def is_busy(self, method, kind):
        with self.lock:
            self.busy[method, kind] -= 1
            return self.busy[method, kind] >= 0

    def refusal(self, method, kind, body):
        """The status and the error with which a request is refused, or None."""
        if self.read_only and method not in ("GET", "HEAD"):
            return 403, "DENIED", "requested access to the resource is denied"
        if self.is_busy(method, kind) or kind != "ping" and self.turn("throttled", self.throttled):
            return 429, "TOOMANYREQUESTS", "rate exceeded"
        if kind != "ping" and self.turn("unavailable", self.unavailable):
            return 503, "UNAVAILABLE", "service unavailable"
        if (method, kind) == ("PUT", "manifest"):
            return self.over_limit(body)
        return None

    def over_limit(self, manifest):
        if self.layers is not None and len(json.loads(manifest).get("layers", [])) > self.layers:
            return 405, "UNSUPPORTED", f"Limit on number of layers per image exceeded. Limit is {self.layers}"
        if self.manifest_bytes is not None and len(manifest) > self.manifest_bytes:
            return 400, "MANIFEST_INVALID", "http: request body too large"
        return None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    reset = FaultyHandler.reset

    def setup(self):
        super().setup()
        self.upstream = http.client.HTTPConnection("127.0.0.1", self.server.front.target)

    def finish(self):
        self.upstream.close()
        super().finish()

    def relay(self):
        front = self.server.front
        path = self.path.partition("?")[0]
        kind = next((kind for part, kind in KINDS.items() if part in path), "ping")
        with front.lock:
            front.requests.append((self.command, kind, path))
        if front.delay:
            time.sleep(front.delay)
        length = int(self.headers.get("Content-Length", 0))
        if kind == "upload" and length > 1 and front.turn("cut", front.cut):
            self.rfile.read(length // 2)
            return self.reset()
        body = self.body(length)
        if refusal := front.refusal(self.command, kind, body):
            return self.refuse(*refusal)
        if (self.command, kind) == ("PUT", "manifest") and front.before_manifest:
            front.before_manifest(path.rpartition("/")[2])
        return self.forward(body)

    do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = do_DELETE = relay

    def body(self, length):
        if self.headers.get("Transfer-Encoding", "") != "chunked":
            return self.rfile.read(length)
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def refuse(self, status, code, message):
        body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
        self.send_response(status)
        if status == 429:
            self.send_header("Retry-After", "1")
        self.answer([("Content-Type", "application/json")], body)

    def forward(self, body):
        # The header `Host` is passed on, so the registry names this front in the locations that it returns. There
        # are several headers `Accept`.
        self.upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in OWN_HEADERS:
                self.upstream.putheader(name, value)
        self.upstream.putheader("Content-Length", str(len(body)))
        self.upstream.endheaders(body)
        response = self.upstream.getresponse()
        content = response.read()
        self.send_response(response.status)
        length = response.getheader("Content-Length") if self.command == "HEAD" else None
        self.answer([header for header in response.getheaders() if header[0].lower() not in OWN_HEADERS],
                    content, length)

    def answer(self, headers, body, length=None):
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", length or str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        half, front = len(body) // 2, self.server.front
        self.wfile.write(body[:half])
        if front.half_sent and "/blobs/sha256:" in self.path:
            front.half_sent(self.path.rpartition("/")[2])
        self.wfile.write(body[half:])

    def log_message(self, *arguments):
        """Nothing: a test looks at `requests`."""
