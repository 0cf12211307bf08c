"""Pulp's container registry: Python with a database, where docker-registry is Go with files.

It checks manifests against a schema and rejects those whose blobs or entries it does not have, redirects
requests for blobs to another server, and requires a user. A manifest pushed by its digest is kept until
a tag leads to it.
"""

import os
import subprocess
from pathlib import Path

from . import secrets
from .commands import run, wait_until
from .daemon import Daemon

SITE = "/opt/pulp/site"
STATE = Path("/var/lib/pulp")
USER = "admin"
PASSWORD = secrets.register("the-password", USER)
PORT = 24818
API_PORT = 24817
CONTENT_PORT = 24816
AS_POSTGRES = ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups")


# A worker of Pulp's API waits for as long as a connection is idle, so it must have a proxy in front of it.
NGINX = """daemon off; pid {directory}/nginx.pid; error_log stderr; events {{}}
http {{ access_log off; client_body_temp_path {directory}/bodies; proxy_temp_path {directory}/answers;
server {{ listen 127.0.0.1:{port}; client_max_body_size 0;
location / {{ proxy_pass http://127.0.0.1:{api}; proxy_set_header Host $http_host; }} }} }}
"""


class Pulp(Daemon):
    """The database, the two servers, and nginx in front of one."""

    def __init__(self, directory):
        super().__init__(Path(directory) / "pulp.log")
        self.port = PORT
        self.address = f"localhost:{PORT}"
        self.conf = Path(directory) / "nginx.conf"
        self.conf.write_text(NGINX.format(directory=directory, port=PORT, api=API_PORT))
        self.processes = []

    def start(self):
        [postgres] = Path("/usr/lib/postgresql").glob("*/bin/postgres")
        self.launch(*AS_POSTGRES, postgres, "-D", STATE / "database", "-k", STATE / "run",
                    "-c", "listen_addresses=", "-c", "fsync=off")
        wait_until(lambda: run(postgres.with_name("pg_isready"), "-q", "-h", STATE / "run", code=None).code == 0,
                   "the database answers")
        self.launch(f"{SITE}/bin/pulpcore-content", "--bind", f"127.0.0.1:{CONTENT_PORT}", "--workers", "1")
        self.launch(f"{SITE}/bin/pulpcore-api", "--bind", f"127.0.0.1:{API_PORT}", "--workers", "2")
        self.launch("nginx", "-c", self.conf)
        for url in (f"http://localhost:{API_PORT}/v2/", f"http://localhost:{CONTENT_PORT}/"):
            wait_until(lambda url=url: self.answers(url), f"{url} answers", seconds=120)
        return self

    def launch(self, *arguments):
        environment = os.environ | {"PYTHONPATH": SITE, "PULP_SETTINGS": "/opt/pulp/settings.py"}
        with self.log.open("ab") as log:
            self.processes.append(subprocess.Popen(arguments, stdout=log, stderr=log, env=environment, cwd="/"))

    @staticmethod
    def answers(url):
        status = run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", url, code=None).output
        return status != "000"

    def stop(self):
        for process in reversed(self.processes):
            process.terminate()
            process.wait()
