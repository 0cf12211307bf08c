"""The servers: a web server and a registry with the same repositories, at several distances."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import repositories
from harness.commands import run, wait_until
from harness.registry import Certificate, Registry

MB = 1_000_000
DOMAIN = "bench.example"
HOSTS = [f"{name}.{DOMAIN}" for name in ("web", "registry", "blobs")]

# Ports of the servers, without TLS and with it, and the ports at which relays make the same servers far away.
WEB, REGISTRY = 8080, 5000
WEB_FAR, REGISTRY_FAR = 8081, 5001
WEB_TLS, REGISTRY_TLS, BLOBS_TLS = 8443, 5443, 9443
WEB_HOSTED, REGISTRY_HOSTED, BLOBS_HOSTED = 8444, 5444, 9444

# By the length of a round trip, in milliseconds.
RELAYS = {
    50: {WEB_FAR: WEB, REGISTRY_FAR: REGISTRY},
    30: {WEB_HOSTED: WEB_TLS, REGISTRY_HOSTED: REGISTRY_TLS, BLOBS_HOSTED: BLOBS_TLS},
}


@dataclass(frozen=True)
class Place:
    """Where a client finds the servers.

    web        URL of the web server
    registry   host and port of the registry
    proxies    how many skopeo processes pay off there
    redirects  whether the registry has TLS and redirects requests for blobs to another host, as quay.io does
    """

    web: str
    registry: str
    proxies: int
    redirects: bool = False

    def url(self, name):
        return f"{self.web}/{name}"

    def reference(self, name, tag="archive"):
        return f"{self.registry}/bench/{name}:{tag}"


# Nearby, more than a few processes wait for a processor; far away, they wait for the network.
NEAR = Place(f"http://localhost:{WEB}", f"localhost:{REGISTRY}", proxies=8)
FAR = Place(f"http://localhost:{WEB_FAR}", f"localhost:{REGISTRY_FAR}", proxies=20)
HOSTED = Place(f"https://web.{DOMAIN}:{WEB_HOSTED}", f"registry.{DOMAIN}:{REGISTRY_HOSTED}", proxies=20, redirects=True)

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

INSECURE = '[[registry]]\nlocation = "{registry}"\ninsecure = true\n'

# The registry with TLS answers requests for blobs itself. docker-registry would take processor time for that from the
# programs that are measured, which no hosted registry does.
NGINX = """daemon off; pid {directory}/nginx.pid; error_log stderr crit; events {{}}
http {{ access_log off; sendfile on; tcp_nopush on;
ssl_certificate {tls.certificate}; ssl_certificate_key {tls.key};
server {{ listen 127.0.0.1:{web}; listen 127.0.0.1:{web_tls} ssl; root {directory}; }}
server {{ listen 127.0.0.1:{blobs_tls} ssl; root {blobs}; }}
server {{ listen 127.0.0.1:{registry_tls} ssl; access_log {log};
location ~ "/blobs/sha256:((..).*)$" {{ return 307 {target}/docker/registry/v2/blobs/sha256/$2/$1/data; }}
location / {{ proxy_pass http://127.0.0.1:{registry}; }} }} }}
"""


class Redirecting(Registry):
    """nginx as a registry with TLS, which redirects requests for blobs and passes others on."""

    def blobs(self):
        return [path.rsplit("/", 1)[1] for method, path, status in self.requests("/blobs/sha256:")
                if method == "GET" and status == 307]


class Servers:
    """The running servers. Repositories are made and published below `directory`."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.directory.chmod(0o755)
        tls = self.certificate()
        self.registry = Registry(self.directory / "registry", REGISTRY).start()
        self.redirecting = Redirecting(self.directory / "redirecting", REGISTRY_TLS, tls)
        conf = self.directory / "nginx.conf"
        conf.write_text(NGINX.format(
            directory=self.directory, tls=tls, web=WEB, web_tls=WEB_TLS,
            blobs_tls=BLOBS_TLS, blobs=self.registry.directory / "data",
            registry_tls=REGISTRY_TLS, registry=REGISTRY, log=self.redirecting.log,
            target=f"https://blobs.{DOMAIN}:{BLOBS_HOSTED}"))
        subprocess.Popen(["nginx", "-c", conf])
        for round_trip, routes in RELAYS.items():
            subprocess.Popen(["/examples/relay", str(round_trip), *(f"{far}:{near}" for far, near in routes.items())])
        for place in (NEAR, FAR, HOSTED):
            wait_until(lambda web=place.web: run("curl", "-s", web, code=None).code == 0, f"{place.web} answers")
        confs = Path("/etc/containers/registries.conf.d")
        confs.mkdir(parents=True, exist_ok=True)
        for number, place in enumerate((NEAR, FAR)):
            (confs / f"{number}.conf").write_text(INSECURE.format(registry=place.registry))

    def certificate(self):
        """A certificate for all hosts, from the only authority that the machine trusts. Debian's libcurl reads all
        authorities for every connection, so with the usual ones HTTPS would look slower than elsewhere."""
        with open("/etc/hosts", "a", encoding="utf-8") as hosts:
            hosts.write(f"127.0.0.1 {' '.join(HOSTS)}\n")
        certificate = Certificate(self.directory / "tls", f"*.{DOMAIN}")
        shutil.copy(certificate.authority, "/usr/local/share/ca-certificates/bench.crt")
        Path("/etc/ca-certificates.conf").write_text("")
        run("update-ca-certificates", "--fresh")
        return certificate

    def publish(self, name):
        """Makes a repository, unless it is there, and pushes it in two layouts: with the metadata in
        one layer, and with each file in a layer; a large one in the layout of dnf5-oci."""
        directory = self.directory / name
        if directory.exists():
            return
        if name in LARGE_REPOSITORIES:
            repository = LARGE_REPOSITORIES[name](directory)
            run("dnf5-oci", "publish", "--quiet", repository.directory, NEAR.reference(name, "published"), timeout=3600)
        else:
            repository = REPOSITORIES[name](directory)
            repository.push(NEAR.reference(name, "archive"))
            repository.push_files(NEAR.reference(name, "files"))

    def registry_at(self, place):
        """The registry that a client reaches there."""
        return self.redirecting if place.redirects else self.registry

    def tag(self, name, tag):
        """Adds a tag to a repository; dnf5 caches it separately."""
        run("oras", "tag", "--plain-http", NEAR.reference(name), tag)
        return NEAR.reference(name, tag)
