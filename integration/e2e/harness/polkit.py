"""python3-dbusmock's polkitd: dnf5daemon-server asks it for permission."""

import subprocess
import sys
from pathlib import Path

from .commands import run, wait_until

NAME = "org.freedesktop.PolicyKit1"
AUTHORITY = "/org/freedesktop/PolicyKit1/Authority"
POLICY = Path(f"/etc/dbus-1/system.d/{NAME}.conf")


class Polkit:
    """A mock on the system bus that grants every request."""

    def __init__(self):
        allow_name()
        self.process = subprocess.Popen([sys.executable, "-m", "dbusmock", "--system", "--template", "polkitd"],
                                        stdout=subprocess.DEVNULL)
        wait_until(lambda: run("busctl", "status", NAME, code=None).code == 0, "polkitd is on the bus")
        run("busctl", "call", NAME, AUTHORITY, "org.freedesktop.DBus.Mock", "AllowUnknown", "b", "true")

    def stop(self):
        self.process.terminate()
        self.process.wait()


def allow_name():
    """Lets root own the name."""
    POLICY.write_text(
        f'<busconfig><policy user="root"><allow own="{NAME}"/></policy>'
        f'<policy context="default"><allow send_destination="{NAME}"/></policy></busconfig>\n'
    )
    run("busctl", "call", "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
        "ReloadConfig")
