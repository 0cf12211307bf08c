"""A pull-through cache that has a blob only once a manifest with it was requested, as Quay's has."""

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# What a registry says of a blob that it does not have.
BLOB_UNKNOWN = b'{"errors": [{"code": "BLOB_UNKNOWN", "message": "blob unknown to registry"}]}'


class LazyCache:
    """In front of a registry, on a port of its own.

    lazy      the digest of the manifest that makes each blob available, by the digest of the blob
    broken    whether manifests of segments are not found either
    requests  the path and status of each request, in order
    """

    def __init__(self, registry, lazy):
        self.upstream = registry.port
        self.lazy = lazy
        self.broken = False
        self.requests = []
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.cache = self
        self.port = self.server.server_address[1]
        self.address = f"localhost:{self.port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def answer(self, path, headers):
        """The status, headers and body for a request."""
        last = path.rpartition("/")[2]
        requested = {path.rpartition("/")[2] for path, status in self.requests if status == 200}
        is_segment = last in self.lazy.values()
        if (last in self.lazy and self.lazy[last] not in requested) or (is_segment and self.broken):
            return 404, {"Content-Type": "application/json"}, BLOB_UNKNOWN
        upstream = http.client.HTTPConnection("127.0.0.1", self.upstream)
        upstream.request("GET", path, headers={"Accept": ", ".join(headers.get_all("Accept", ["*/*"]))})
        response = upstream.getresponse()
        body = response.read()
        upstream.close()
        return response.status, {"Content-Type": response.getheader("Content-Type")}, body

    def count(self, last, status=None):
        """How many requests there were whose paths end in `last`, or how many with this status."""
        return sum(path.endswith(last) and status in (None, found) for path, found in self.requests)

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """skopeo is killed when it is idle, and its connections with it."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        cache = self.server.cache
        status, headers, body = cache.answer(self.path, self.headers)
        cache.requests.append((self.path, status))
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        """Nothing: a test asks for `requests`."""
