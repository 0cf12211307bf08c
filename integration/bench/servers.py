"""The servers: a web server and a registry with the same repositories, near by and far away."""

import subprocess
from pathlib import Path

import repositories
from harness.commands import run, wait_until
from harness.registry import Registry

MB = 1_000_000
WEB, REGISTRY = 8080, 5000
# The ports at which the same servers are far away.
FAR = {WEB: 8081, REGISTRY: 5001}
# Of the servers far away, in milliseconds.
ROUND_TRIP = 50

REPOSITORIES = {
    "large": lambda directory: repositories.large(directory, 300 * MB),
    "many": lambda directory: repositories.many(directory, 400, MB // 10),
    "metadata": lambda directory: repositories.synthetic(directory, 20_000),
}

# Published with dnf5-oci: a manifest would be too large for oras.
LARGE_REPOSITORIES = {
    "twenty-thousand": lambda directory: repositories.tiny(directory, 20_000),
    "huge": lambda directory: repositories.tiny(directory, 70_000),
}

INSECURE = '[[registry]]\nlocation = "localhost:{port}"\ninsecure = true\n'

NGINX = """daemon off; pid {directory}/nginx.pid; error_log stderr crit; events {{}}
http {{ access_log off; sendfile on; tcp_nopush on;
server {{ listen 127.0.0.1:{port}; root {directory}; }} }}
"""


class Servers:
    """The running servers. Repositories are made and published below `directory`."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.directory.chmod(0o755)
        self.registry = Registry(self.directory / "registry", REGISTRY).start()
        conf = self.directory / "nginx.conf"
        conf.write_text(NGINX.format(directory=self.directory, port=WEB))
        subprocess.Popen(["nginx", "-c", conf])
        routes = [f"{far}:{near}" for near, far in FAR.items()]
        subprocess.Popen(["/examples/relay", str(ROUND_TRIP), *routes])
        for port in (WEB, FAR[WEB]):
            wait_until(lambda port=port: run("curl", "-s", f"http://localhost:{port}", code=None).code == 0,
                       "nginx answers")
        confs = Path("/etc/containers/registries.conf.d")
        confs.mkdir(parents=True, exist_ok=True)
        for port in (REGISTRY, FAR[REGISTRY]):
            (confs / f"{port}.conf").write_text(INSECURE.format(port=port))

    def publish(self, name):
        """Makes a repository, unless it is there, and pushes it in two layouts: with the metadata in
        one layer, and with each file in a layer; a large one in the layout of dnf5-oci."""
        directory = self.directory / name
        if directory.exists():
            return
        if name in LARGE_REPOSITORIES:
            repository = LARGE_REPOSITORIES[name](directory)
            run("dnf5-oci", "publish", "--quiet", repository.directory, self.reference(name, "published"), timeout=3600)
        else:
            repository = REPOSITORIES[name](directory)
            repository.push(self.reference(name, "archive"))
            repository.push_files(self.reference(name, "files"))

    @staticmethod
    def reference(name, tag="archive", far=False):
        return f"localhost:{FAR[REGISTRY] if far else REGISTRY}/bench/{name}:{tag}"

    def tag(self, name, tag):
        """Adds a tag to a repository; dnf5 caches it separately."""
        run("oras", "tag", "--plain-http", self.reference(name), tag)
        return self.reference(name, tag)

    @staticmethod
    def url(name, far=False):
        return f"http://localhost:{FAR[WEB] if far else WEB}/{name}"
