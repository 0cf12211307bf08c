"""tinyproxy, an HTTP proxy that wants to know its user."""

import subprocess
from pathlib import Path

from .commands import run, wait_until

PORT = 8888
URL = f"http://localhost:{PORT}"
USER = "proxy-user"
PASSWORD = "proxy-password"


class Proxy:
    """A proxy on this machine, and what it was asked for."""

    def __init__(self, directory):
        self.log = Path(directory) / "proxy.log"
        self.log.touch()
        conf = Path(directory) / "tinyproxy.conf"
        conf.write_text(f'Port {PORT}\nListen 127.0.0.1\nLogFile "{self.log}"\nLogLevel Connect\n'
                        f"BasicAuth {USER} {PASSWORD}\n")
        self.process = subprocess.Popen(["tinyproxy", "-d", "-c", conf], stdout=subprocess.DEVNULL)
        wait_until(lambda: run("curl", "-s", URL, code=None).code == 0, "the proxy answers")

    def count(self, host):
        """How many connections to a host it was asked for."""
        return self.log.read_text().count(f"CONNECT {host}")

    def stop(self):
        self.process.terminate()
        self.process.wait()
