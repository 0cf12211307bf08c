"""docker-registry, and the requests to it."""

import http.client
import itertools
import re
import shutil
import socket
import ssl
import subprocess
from pathlib import Path

from . import secrets
from .commands import run, wait_until
from .daemon import Daemon

REQUEST = re.compile(r'"([A-Z]+) (/v2/\S*) HTTP/[0-9.]+" (\d+)')

# A request for this path follows the others, to see when they are all in the log.
LAST = "/v2/last-"
NUMBERS = itertools.count()


class Registry(Daemon):
    """A registry on a port of this machine.

    users           the password of each user; none: no authentication
    authentication  another kind of authentication, as in its configuration file
    clients         the authority that signs client certificates
    cache_of        the registry that this one is a pull-through cache of
    """

    def __init__(
        self, directory, port, certificate=None, users=None, authentication=None, clients=None,
        cache_of=None,
    ):
        self.port = port
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        super().__init__(self.directory / "log")
        self.log.write_text("")
        self.address = f"localhost:{port}"
        config = [
            "version: 0.1",
            "storage: {filesystem: {rootdirectory: %s}, delete: {enabled: true}}"
            % (self.directory / "data"),
        ]
        listen = f"addr: 127.0.0.1:{port}"
        if certificate:
            tls = f"certificate: {certificate.certificate}, key: {certificate.key}"
            if clients:
                tls += f", clientcas: [{clients}]"
            listen += f", tls: {{{tls}}}"
        config.append("http: {%s}" % listen)
        if users:
            passwords = self.directory / "htpasswd"
            passwords.write_text("")
            for user, password in users.items():
                secrets.register(password, user)
                run("htpasswd", "-bB", passwords, user, password)
            authentication = f"htpasswd: {{realm: test, path: {passwords}}}"
        if authentication:
            config.append(f"auth: {{{authentication}}}")
        if cache_of:
            config.append(f"proxy: {{remoteurl: http://{cache_of.address}}}")
        self.config = self.directory / "config.yml"
        self.config.write_text("\n".join(config) + "\n")
        self.tls = certificate is not None

    def start(self):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ["docker-registry", "serve", self.config], stdout=log, stderr=log
            )
        wait_until(self.answers, "the registry answers")
        return self

    def answers(self):
        """Whether it accepts connections."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def clear(self):
        self.settle()
        super().clear()

    def settle(self):
        """Waits for the log: a request is logged after it has been answered."""
        path = f"{LAST}{next(NUMBERS)}"
        try:
            self.connection().request("GET", path)
        except OSError:
            # It has stopped, or requires a client certificate.
            return
        wait_until(lambda: f"{path} ".encode() in self.log.read_bytes(), "the request is in the log")

    def connection(self):
        if not self.tls:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        return http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=5, context=ssl._create_unverified_context())

    def requests(self, part=""):
        """(method, path, status) of the requests with `part` in their paths."""
        self.settle()
        found = [(m, path, int(status)) for m, path, status in REQUEST.findall(self.new())]
        return [request for request in found
                if part in request[1] and not request[1].startswith(LAST)]

    def manifests(self):
        return self.requests("/manifests/")

    def blobs(self):
        """The digests of the blobs that were fetched, in order."""
        return [path.rsplit("/", 1)[1] for method, path, status in self.requests("/blobs/sha256:")
                if method == "GET" and status == 200]

    def unlink_blob(self, repository, digest):
        """Removes a blob from this repository."""
        shutil.rmtree(self.storage / "repositories" / repository / "_layers" / digest.replace(":", "/"))

    def corrupt_blob(self, digest):
        """Replaces a blob's bytes by as many others."""
        blob = self.blob(digest)
        blob.write_bytes(bytes(byte ^ 1 for byte in blob.read_bytes()))

    def blob(self, digest):
        """The file that contains a blob."""
        algorithm, name = digest.split(":")
        return self.storage / "blobs" / algorithm / name[:2] / name / "data"

    @property
    def storage(self):
        return self.directory / "data/docker/registry/v2"


class Certificate:
    """A private authority and a certificate signed by it."""

    def __init__(self, directory, host):
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        self.authority = directory / "ca.crt"
        self.certificate = directory / "server.crt"
        self.key = directory / "server.key"
        authority_key, request, extensions = (
            directory / name for name in ("ca.key", "server.csr", "extensions")
        )
        quiet = {"stderr": subprocess.DEVNULL, "check": True}
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
             "-subj", "/CN=test authority", "-keyout", authority_key, "-out", self.authority],
            **quiet,
        )
        subprocess.run(
            ["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={host}",
             "-keyout", self.key, "-out", request],
            **quiet,
        )
        extensions.write_text(f"subjectAltName=DNS:{host}\n")
        subprocess.run(
            ["openssl", "x509", "-req", "-in", request, "-CA", self.authority, "-CAkey",
             authority_key, "-CAcreateserial", "-days", "2", "-extfile", extensions,
             "-out", self.certificate],
            **quiet,
        )

    def trust(self, host):
        """Puts the authority where podman looks for it."""
        directory = Path("/etc/containers/certs.d") / host
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "ca.crt").write_bytes(self.authority.read_bytes())


def private_registry(directory, host, port=443, user=("user", "the-password")):
    """A registry with that host name, TLS by an authority that is not trusted yet, and one user.
    `login` are the options for pushing to it."""
    with open("/etc/hosts", "a", encoding="utf-8") as hosts:
        hosts.write(f"127.0.0.1 {host}\n")
    certificate = Certificate(Path(directory) / "tls", host)
    registry = Registry(directory, port, certificate, dict([user])).start()
    registry.address = host if port == 443 else f"{host}:{port}"
    registry.certificate = certificate
    registry.login = ["tls", "--ca-file", certificate.authority, "--username", user[0],
                      "--password", user[1]]
    return registry
