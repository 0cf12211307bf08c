"""The system's service, started by hand instead of by the bus."""

import os
import signal
import subprocess
from contextlib import contextmanager

from .commands import processes, run, until

NAME = "io.github.dnf5_oci"

# What systemd gives to a service without User= and Environment=: neither HOME nor XDG_RUNTIME_DIR.
SYSTEMD = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin",
    "LANG": "C.UTF-8",
    "INVOCATION_ID": "0123456789abcdef0123456789abcdef",
    "SYSTEMD_EXEC_PID": "1",
}


def is_there():
    return "true" in run("busctl", "call", "org.freedesktop.DBus", "/org/freedesktop/DBus",
                         "org.freedesktop.DBus", "NameHasOwner", "s", NAME).output


@contextmanager
def service(log, **environment):
    """Runs it in systemd's environment with these variables added; it writes to the file `log`."""
    for process in processes("dnf5-oci", "serve"):
        os.kill(process, signal.SIGTERM)
    until(lambda: not is_there(), "no other service is there")
    with open(log, "wb") as stderr:
        process = subprocess.Popen(
            ["dnf5-oci", "serve", "--idle", "600"], env=SYSTEMD | environment, stderr=stderr
        )
    try:
        until(is_there, "the service is there")
        yield process
        assert process.poll() is None, "the service has ended"
    finally:
        process.terminate()
        process.wait()
