"""A registry that answers requests for manifests as a test wants."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hostile:
    """Asks for a password, and takes any.

    status     the status of the answer to every authorized request for a manifest
    body       its body, or a function of the request's Authorization header
    kind       its media type
    everyones  whether it answers everything so, without a password
    """

    def __init__(self, port):
        self.address = f"localhost:{port}"
        self.reset()
        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.hostile = self
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def reset(self):
        self.status = 403
        self.body = ""
        self.kind = "application/json"
        self.everyones = False

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        hostile = self.server.hostile
        authorization = self.headers.get("Authorization")
        if hostile.everyones:
            self.answer(hostile.status, hostile.body, hostile.kind)
        elif authorization is None:
            self.answer(401, "", "text/plain")
        elif "/manifests/" in self.path:
            body = hostile.body(authorization) if callable(hostile.body) else hostile.body
            self.answer(hostile.status, body, hostile.kind)
        else:
            self.answer(200, "{}", "application/json")

    do_HEAD = do_GET

    def answer(self, status, text, kind):
        body = text.encode()
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="hostile"')
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass
