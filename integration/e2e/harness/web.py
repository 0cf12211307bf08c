"""nginx, a plain web server."""

import re
import subprocess
from pathlib import Path

from .commands import run, until

REQUEST = re.compile(r'"([A-Z]+) (\S*) HTTP/[0-9.]+" (\d+)')


class Web:
    """Serves a directory over plain HTTP on a port of this machine."""

    def __init__(self, directory, port=8080):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        # Its workers are not root.
        for path in (self.directory, *self.directory.parents[:3]):
            path.chmod(0o755)
        self.url = f"http://localhost:{port}"
        self.log = self.directory.parent / "nginx.log"
        conf = self.directory.parent / "nginx.conf"
        conf.write_text(
            f"daemon off; pid /tmp/nginx-{port}.pid; error_log stderr; events {{}}\n"
            f"http {{ access_log {self.log}; server {{ listen 127.0.0.1:{port}; "
            f"root {self.directory}; }} }}\n"
        )
        self.process = subprocess.Popen(["nginx", "-c", conf])
        until(lambda: run("curl", "-s", self.url, code=None).code == 0, "nginx answers")
        self.seen = 0

    def clear(self):
        """What was asked up to now does not count."""
        self.seen = len(self.log.read_bytes())

    def requests(self):
        """(method, path, status) of all requests."""
        text = self.log.read_bytes()[self.seen :].decode(errors="replace")
        return [(m, path, int(status)) for m, path, status in REQUEST.findall(text)]

    def stop(self):
        self.process.terminate()
        self.process.wait()
