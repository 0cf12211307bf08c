#!/usr/bin/python3
"""Stands in front of docker-registry, passes requests on and fails as scripted.

    front.py DIRECTORY PORT_OF_THE_REGISTRY

It writes its own port into DIRECTORY/port, and a line for each request into DIRECTORY/log: method, path,
status. DIRECTORY/faults has a list of faults, which is read for each request: the first one whose "method"
and "path", a regular expression, match is applied, unless it has been so "times" times already. What it
does is one of:

    "status": N     answers so, with the headers "headers" and the body "body"
    "cut": true     reads half of the request's body and closes the connection
    "stall": true   reads half of the request's body and then nothing
    "wait": NAME    passes the request on when there is a file of this name in DIRECTORY
"""

import http.client
import json
import os
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HERE, BEHIND = sys.argv[1], int(sys.argv[2])
LOCK = threading.Lock()
APPLIED = {}


def fault(method, path):
    """The fault for this request, or nothing."""
    try:
        with open(os.path.join(HERE, "faults")) as file:
            faults = json.load(file)
    except FileNotFoundError:
        return {}
    with LOCK:
        for number, found in enumerate(faults):
            key = json.dumps(found) + str(number)
            if (re.fullmatch(found.get("method", ".*"), method) and re.search(found.get("path", ""), path)
                    and APPLIED.get(key, 0) < found.get("times", 1 << 30)):
                APPLIED[key] = APPLIED.get(key, 0) + 1
                return found
    return {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_request(self):
        found = fault(self.command, self.path)
        length = int(self.headers.get("Content-Length", 0))
        if found.get("cut") or found.get("stall"):
            self.rfile.read(length // 2)
            self.log_line("cut" if found.get("cut") else "stall")
            if found.get("stall"):
                time.sleep(600)
            self.close_connection = True
            return
        body = self.rfile.read(length)
        if "wait" in found:
            self.log_line("wait")
            while not os.path.exists(os.path.join(HERE, found["wait"])):
                time.sleep(0.02)
        if "status" in found:
            self.answer(found["status"], found.get("headers", {}).items(), found.get("body", "").encode())
            return
        behind = http.client.HTTPConnection("127.0.0.1", BEHIND)
        behind.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            behind.putheader(name, value)
        behind.endheaders(body)
        response = behind.getresponse()
        content = response.read()
        headers = [(name, value) for name, value in response.getheaders()
                   if name.lower() not in ("content-length", "transfer-encoding", "connection", "date")]
        length = response.getheader("Content-Length") if self.command == "HEAD" else len(content)
        behind.close()
        self.answer(response.status, headers, content, length)

    do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = do_DELETE = handle_request

    def answer(self, status, headers, body, length=None):
        self.log_line(status)
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_line(self, status):
        with LOCK, open(os.path.join(HERE, "log"), "a") as file:
            print(self.command, self.path.partition("?")[0], status, file=file)

    def log_message(self, *arguments):
        """Nothing: the log has its own form."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        """Clients leave in the middle."""


def main():
    server = Server(("127.0.0.1", 0), Handler)
    new = os.path.join(HERE, "port.new")
    with open(new, "w") as file:
        file.write(str(server.server_address[1]))
    os.rename(new, os.path.join(HERE, "port"))
    server.serve_forever()


main()
