"""nginx, a plain web server."""

import subprocess
from pathlib import Path

from .commands import run, wait_until
from .daemon import Daemon


class Web(Daemon):
    """Serves a directory over plain HTTP on a port of this machine."""

    def __init__(self, directory, port=8080):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        # Its workers are not root.
        for path in (self.directory, *self.directory.parents[:3]):
            path.chmod(0o755)
        self.url = f"http://localhost:{port}"
        super().__init__(self.directory.parent / "nginx.log")
        self.conf = self.directory.parent / "nginx.conf"
        self.conf.write_text(
            f"daemon off; pid {self.directory.parent}/nginx.pid; error_log stderr; events {{}}\n"
            f"http {{ log_format asked '$request_method $status $uri'; access_log {self.log} asked;\n"
            f"server {{ listen 127.0.0.1:{port}; root {self.directory}; }} }}\n"
        )

    def start(self):
        self.process = subprocess.Popen(["nginx", "-c", self.conf])
        wait_until(lambda: run("curl", "-s", self.url, code=None).code == 0, "nginx answers")
        return self

    def requests(self):
        """(method, path, status) of all requests."""
        found = [line.split(" ", 2) for line in self.new().splitlines()]
        return [(method, path, int(status)) for method, status, path in found]

    def requested(self, below):
        """The requested paths below a directory, in order."""
        prefix = f"/{below}/"
        paths = [path for _, path, _ in self.requests()]
        return [path.removeprefix(prefix) for path in paths if path.startswith(prefix)]
