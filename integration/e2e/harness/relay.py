"""A relay in front of a registry that is slow or fails on purpose."""

import socket
import threading
import time


class Relay:
    """Relays TCP connections to another port of this machine.

    rate   limit to the client in bytes per second, over all connections
    stall  number of bytes after which a connection sends nothing more, but stays open
    cut    number of bytes after which one connection, once, is closed
    """

    def __init__(self, port, target, rate=None, stall=None, cut=None):
        self.target = target
        self.rate = rate
        self.stall = stall
        self.cut = cut
        self.passed = 0
        self.lock = threading.Lock()
        self.server = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self.accept, daemon=True).start()

    def is_quiet(self):
        """Whether nothing passes for a while."""
        before = self.passed
        time.sleep(0.3)
        return self.passed == before

    def accept(self):
        while True:
            client, _ = self.server.accept()
            upstream = socket.create_connection(("127.0.0.1", self.target))
            for function, source, sink in (
                (self.pass_on, client, upstream),
                (self.pass_back, upstream, client),
            ):
                threading.Thread(target=function, args=(source, sink), daemon=True).start()

    @staticmethod
    def pass_on(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        close(sink)

    def pass_back(self, source, sink):
        passed = 0
        try:
            while data := source.recv(16384):
                if self.stall is not None and passed + len(data) > self.stall:
                    time.sleep(3600)
                if self.cut is not None and passed + len(data) > self.cut:
                    self.cut = None
                    break
                # A test may change it at any time.
                if rate := self.rate:
                    with self.lock:
                        time.sleep(len(data) / rate)
                sink.sendall(data)
                passed += len(data)
                self.passed += len(data)
        except OSError:
            pass
        close(sink)
        close(source)


def close(connection):
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    connection.close()
