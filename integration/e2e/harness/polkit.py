"""A stand-in for polkit that allows everything, for dnf5daemon-server, which asks it."""

import socket
import struct
import threading
from pathlib import Path

from .commands import run

NAME = "org.freedesktop.PolicyKit1"
POLICY = Path(f"/etc/dbus-1/system.d/{NAME}.conf")
CALL, REPLY, ERROR = 1, 2, 3
# Codes of header fields: D-Bus Specification, "Header Fields".
PATH, INTERFACE, MEMBER, REPLY_SERIAL, DESTINATION, SENDER, SIGNATURE = 1, 2, 3, 5, 6, 7, 8


def allow_name():
    """Lets root own the name."""
    POLICY.write_text(
        f'<busconfig><policy user="root"><allow own="{NAME}"/></policy>'
        f'<policy context="default"><allow send_destination="{NAME}"/></policy></busconfig>\n'
    )
    run("busctl", "call", "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
        "ReloadConfig")


class Polkit:
    """Has the name on the system bus, and says yes to every call."""

    def __init__(self):
        self.serial = 0
        self.bus = socket.socket(socket.AF_UNIX)
        self.bus.connect("/run/dbus/system_bus_socket")
        self.bus.sendall(b"\0AUTH EXTERNAL 30\r\n")
        answer = self.bus.recv(4096)
        assert answer.startswith(b"OK "), answer
        self.bus.sendall(b"BEGIN\r\n")
        self.stream = self.bus.makefile("rb")
        self.ask_bus("Hello")
        self.ask_bus("RequestName", "su", string(NAME) + pad(string(NAME), 4) + struct.pack("<I", 0))
        threading.Thread(target=self.serve, daemon=True).start()

    def ask_bus(self, member, signature="", body=b""):
        """Calls a method of the bus itself, and waits for the reply."""
        self.send(CALL, [(PATH, "o", "/org/freedesktop/DBus"), (MEMBER, "s", member),
                         (INTERFACE, "s", "org.freedesktop.DBus"),
                         (DESTINATION, "s", "org.freedesktop.DBus")], signature, body)
        while True:
            kind, fields, _ = self.receive()
            if kind == REPLY and fields.get(REPLY_SERIAL) == self.serial:
                return
            assert kind != ERROR, f"{member} was refused"

    def serve(self):
        # (is_authorized, is_challenge, details)
        yes = struct.pack("<III", 1, 0, 0) + bytes(4)
        try:
            while True:
                kind, fields, serial = self.receive()
                if kind == CALL:
                    answer = [(REPLY_SERIAL, "u", serial), (DESTINATION, "s", fields[SENDER])]
                    self.send(REPLY, answer, "(bba{ss})", yes)
        except EOFError:
            pass

    def send(self, kind, fields, signature, body):
        self.serial += 1
        if signature:
            fields = [*fields, (SIGNATURE, "g", signature)]
        packed = b""
        for code, sort, value in fields:
            packed += pad(packed, 8) + bytes([code]) + short(sort)
            if sort == "g":
                packed += short(value)
            else:
                packed += pad(packed, 4) + (struct.pack("<I", value) if sort == "u" else string(value))
        head = struct.pack("<cBBBIII", b"l", kind, 0, 1, len(body), self.serial, len(packed)) + packed
        self.bus.sendall(head + pad(head, 8) + body)

    def receive(self):
        """The next message: what kind, its header's fields, its number."""
        order, kind, _, _, length, serial, size = struct.unpack("<cBBBIII", self.read(16))
        assert order == b"l", "messages of this machine are little-endian"
        packed = self.read(size)
        self.read(-(16 + size) % 8 + length)
        fields, at = {}, 0
        while at < size:
            at += -at % 8
            code, sort = packed[at], chr(packed[at + 2])
            at += 4
            if sort == "g":
                end = at + 1 + packed[at]
                fields[code], at = packed[at + 1 : end].decode(), end + 1
                continue
            at += -at % 4
            number = struct.unpack_from("<I", packed, at)[0]
            at += 4
            if sort == "u":
                fields[code] = number
            else:
                fields[code] = packed[at : at + number].decode()
                at += number + 1
        return kind, fields, serial

    def read(self, size):
        data = self.stream.read(size)
        if len(data) < size:
            raise EOFError("the bus has gone")
        return data


def string(text):
    return struct.pack("<I", len(text)) + text.encode() + b"\0"


def short(text):
    """As signatures are written."""
    return bytes([len(text)]) + text.encode() + b"\0"


def pad(before, to):
    return bytes(-len(before) % to)
