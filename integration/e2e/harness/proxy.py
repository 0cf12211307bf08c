"""tinyproxy, an HTTP proxy with authentication."""

import subprocess
from pathlib import Path

from . import secrets
from .commands import run, wait_until

PORT = 8888
URL = f"http://localhost:{PORT}"
USER = "proxy-user"
PASSWORD = secrets.register("pr0xy-w0rd", USER)


class Proxy:
    """A proxy on this machine, and its log."""

    def __init__(self, directory):
        self.log = Path(directory) / "proxy.log"
        self.log.touch()
        conf = Path(directory) / "tinyproxy.conf"
        conf.write_text(f'Port {PORT}\nListen 127.0.0.1\nLogFile "{self.log}"\nLogLevel Connect\n'
                        f"BasicAuth {USER} {PASSWORD}\n")
        self.process = subprocess.Popen(["tinyproxy", "-d", "-c", conf], stdout=subprocess.DEVNULL)
        wait_until(lambda: run("curl", "-s", URL, code=None).code == 0, "the proxy answers")

    def count(self, host):
        """The number of connections to a host that were requested."""
        return self.log.read_text().count(f"CONNECT {host}")

    def stop(self):
        self.process.terminate()
        self.process.wait()
