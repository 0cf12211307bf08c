"""A relay behind which a server is far away."""

import queue
import socket
import threading
import time

# What is on its way at most, in chunks: much more than a line ever has, so that it is only late.
ON_ITS_WAY = 1000
CHUNK = 256 * 1024


class Delay:
    """Passes TCP connections on to another port of this machine, each way late by half of
    `round_trip`, in seconds. As on a line of that length, a connection costs one round trip before
    it carries anything; how much it carries is not limited."""

    def __init__(self, port, target, round_trip):
        self.target = target
        self.round_trip = round_trip
        self.server = socket.create_server(("127.0.0.1", port), backlog=128)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.server.accept()
            opened = time.monotonic() + self.round_trip
            upstream = socket.create_connection(("127.0.0.1", self.target))
            for side in (client, upstream):
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.carry(client, upstream, opened)
            self.carry(upstream, client, 0)

    def carry(self, source, sink, opened):
        """Carries one direction of a connection; what was sent before it was open waits for that."""
        line = queue.Queue(ON_ITS_WAY)
        for function in (self.take, self.give):
            threading.Thread(target=function, args=(source, sink, line, opened), daemon=True).start()

    def take(self, source, _sink, line, opened):
        data = b"-"
        while data:
            try:
                data = source.recv(CHUNK)
            except OSError:
                data = b""
            line.put((max(time.monotonic(), opened) + self.round_trip / 2, data))

    @staticmethod
    def give(source, sink, line, _opened):
        try:
            while True:
                due, data = line.get()
                time.sleep(max(0, due - time.monotonic()))
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    return
                sink.sendall(data)
        except OSError:
            # Gone: whoever sends to it must hear of that, and `take` must not wait for room.
            for gone in (source, sink):
                try:
                    gone.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
            while line.get()[1]:
                pass
