"""nginx, a plain web server: what any other repository comes from."""

import subprocess
from pathlib import Path

from .commands import run, until


class Web:
    """Serves a directory on a port of this machine."""

    def __init__(self, directory, port=8080):
        self.directory = Path(directory)
        self.directory.mkdir()
        self.url = f"http://localhost:{port}"
        self.log = self.directory.parent / "nginx.log"
        self.conf = self.directory.parent / "nginx.conf"
        self.process = None
        self.seen = 0
        # nginx answers as a user of its own.
        self.directory.chmod(0o755)
        for parent in self.directory.parents[:3]:
            parent.chmod(0o755)
        self.conf.write_text(
            f"daemon off; pid {self.directory.parent}/nginx.pid; error_log stderr; events {{}}\n"
            f"http {{ log_format asked '$request_method $uri $status'; access_log {self.log} asked;\n"
            f"server {{ listen 127.0.0.1:{port}; root {self.directory}; }} }}\n"
        )

    def start(self):
        self.process = subprocess.Popen(["nginx", "-c", self.conf])
        until(lambda: run("curl", "-s", self.url, code=None).code == 0, "nginx answers")
        return self

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait()
            self.process = None

    def clear(self):
        """What was asked up to now does not count."""
        self.seen = len(self.log.read_text())

    def asked(self, below):
        """What was asked for below a directory, in order."""
        prefix = f"/{below}/"
        paths = [line.split()[1] for line in self.log.read_text()[self.seen:].splitlines()]
        return [path.removeprefix(prefix) for path in paths if path.startswith(prefix)]
