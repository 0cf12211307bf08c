"""The service on the system bus."""

import os
import re
import subprocess
from contextlib import contextmanager
from pathlib import Path

from . import secrets
from .commands import processes, run, wait_until
from .daemon import Daemon

SERVE = ("dnf5-oci", "serve")
NAME = "io.github.dnf5_oci"
ASKED = re.compile(r'request location="((?:[^"\\]|\\.)*)"')

# systemd's environment for a service without User= and Environment=: no HOME and no XDG_RUNTIME_DIR.
SYSTEMD = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin",
    "LANG": "C.UTF-8",
    "INVOCATION_ID": "0123456789abcdef0123456789abcdef",
    "SYSTEMD_EXEC_PID": "1",
}

UNIT = "dnf5-oci.service"
SETTINGS = Path("/etc/dnf5-oci/config.toml")


def call(method, signature, *arguments, **how):
    """Calls a method of the interface."""
    return run("busctl", "--timeout=60", "call", NAME, "/io/github/dnf5_oci", f"{NAME}.Backend1",
               method, signature, *arguments, **how)


def peak(process):
    """The most memory that a process has taken so far, in kB."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(next(line for line in status.splitlines() if "VmHWM" in line).split()[1])


def stop_services():
    """Stops all instances that the bus has started."""
    for process in processes(*SERVE):
        run("kill", process, code=None)
    wait_until(lambda: not processes(*SERVE), "the service has ended")
    wait_until(lambda: not is_on_the_bus(), "the bus starts a new one")


def is_on_the_bus():
    """Whether the bus passes calls on to a service: one that has just ended may still get one."""
    return run("busctl", "call", "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
               "NameHasOwner", "s", NAME, code=None).output == "b true\n"


@contextmanager
def settings(text):
    """The settings of the service for the duration of the context."""
    SETTINGS.parent.mkdir(exist_ok=True)
    SETTINGS.write_text(text)
    try:
        yield
    finally:
        SETTINGS.unlink()


@contextmanager
def unit(lines, name=UNIT):
    """Adds a drop-in to a unit for the duration of the context."""
    drop_in = Path(f"/run/systemd/system/{name}.d/test.conf")
    drop_in.parent.mkdir(exist_ok=True)
    drop_in.write_text(lines)
    try:
        reload_units()
        yield
    finally:
        drop_in.unlink()
        reload_units()


def reload_units():
    stop_services()
    run("systemctl", "daemon-reload")


def journal(name, *options):
    """The log of a unit."""
    return run("journalctl", "--no-pager", "--output=cat", f"--unit={name}", *options).output


class Service(Daemon):
    """The service, started by hand so that its log can be read."""

    def __init__(self, log, idle=600, environment=None):
        super().__init__(log)
        secrets.watch(log)
        self.idle = idle
        self.environment = environment or os.environ | {"DNF5_OCI_LOG": "debug"}

    def start(self):
        stop_services()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ["dnf5-oci", "serve", "--idle", str(self.idle)],
                stdout=log, stderr=log, env=self.environment,
            )
        wait_until(self.answers, "the service is on the bus")
        return self

    def peak(self):
        """The most memory that it has taken so far, in kB."""
        return peak(self.process.pid)

    def answers(self):
        return run("busctl", "status", NAME, code=None).code == 0

    def requested(self):
        """The locations that dnf5 has requested, in order."""
        return ASKED.findall(self.new())


@contextmanager
def service_as_systemd_runs_it(log, **environment):
    """Runs it in systemd's environment and these variables, with its log in the file `log`."""
    running = Service(log, environment=SYSTEMD | environment).start()
    try:
        yield running
        assert running.process.poll() is None, "the service has ended"
    finally:
        running.stop()
