"""The system's service, started by hand so that its log can be read."""

import os
import re
import subprocess
from contextlib import contextmanager
from pathlib import Path

from .commands import processes, run, until
from .daemon import Daemon

SERVE = ("dnf5-oci", "serve")
NAME = "io.github.dnf5_oci"
ASKED = re.compile(r'asked for location="((?:[^"\\]|\\.)*)"')

# What systemd gives to a service without User= and Environment=: neither HOME nor XDG_RUNTIME_DIR.
SYSTEMD = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin",
    "LANG": "C.UTF-8",
    "INVOCATION_ID": "0123456789abcdef0123456789abcdef",
    "SYSTEMD_EXEC_PID": "1",
}

UNIT = "dnf5-oci.service"
DROP_IN = Path(f"/run/systemd/system/{UNIT}.d/test.conf")


def call(method, signature, *arguments, **how):
    """Calls a method of the interface."""
    return run("busctl", "--timeout=60", "call", NAME, "/io/github/dnf5_oci", f"{NAME}.Backend1",
               method, signature, *arguments, **how)


def end_services():
    """Ends those that the bus has started."""
    for process in processes(*SERVE):
        run("kill", process, code=None)
    until(lambda: not processes(*SERVE), "the service has ended")


@contextmanager
def unit(lines):
    """Adds lines to the unit, for services that are started meanwhile."""
    DROP_IN.parent.mkdir(exist_ok=True)
    DROP_IN.write_text(lines)
    try:
        read_units()
        yield
    finally:
        DROP_IN.unlink()
        read_units()


def read_units():
    end_services()
    run("systemctl", "daemon-reload")


def journal(name, *options):
    """What a unit has logged."""
    return run("journalctl", "--no-pager", "--output=cat", f"--unit={name}", *options).output


class Service(Daemon):
    """The service on the system bus."""

    def __init__(self, log, idle=600, environment=None):
        super().__init__(log)
        self.idle = idle
        self.environment = environment or os.environ | {"DNF5_OCI_LOG": "debug"}

    def start(self):
        end_services()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ["dnf5-oci", "serve", "--idle", str(self.idle)],
                stdout=log, stderr=log, env=self.environment,
            )
        until(self.answers, "the service is on the bus")
        return self

    def answers(self):
        return run("busctl", "status", NAME, code=None).code == 0

    def asked(self):
        """What dnf5 has asked for, in order."""
        return ASKED.findall(self.new())


@contextmanager
def systemds_service(log, **environment):
    """Runs it in systemd's environment with these variables added; it writes to the file `log`."""
    running = Service(log, environment=SYSTEMD | environment).start()
    try:
        yield running
        assert running.process.poll() is None, "the service has ended"
    finally:
        running.stop()
