"""Fixtures: a registry, repositories, and dnf5."""

import re
import shutil
import socket
from pathlib import Path

import pytest

from harness import secrets
from harness.commands import replace, run
from harness.dnf4 import Dnf4
from harness.limits import Front
from harness.programs import HOST
from harness.registry import Registry
from harness.repository import Repository, build
from harness.service import UNIT, Service, unit
from harness.signing import LOOKASIDE, POLICY, REGISTRIES_D, Keys, registries_d
from harness.users import PASSWORD
from harness.web import Web

CACHE = Path("/var/cache/libdnf5")
REPOS = Path("/etc/yum.repos.d")
CONTAINERS = Path("/etc/containers")
LOG = Path("/var/log/dnf5.log")
PLUGIN_CONF = Path("/etc/dnf/libdnf5-plugins/oci.conf")

# The command line of a private instance, and an environment without a bus.
PRIVATE = ("dnf5-oci", "serve", "--fd")
NO_BUS = {"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nonexistent", "PATH": "/usr/bin:/usr/sbin"}


def pytest_configure():
    # An unavailable repository is an error unless a test says otherwise.
    conf = Path("/etc/dnf/dnf.conf")
    conf.write_text("[main]\ngpgcheck=False\nskip_if_unavailable=False\n")
    REPOS.mkdir(parents=True, exist_ok=True)


def insecure(address):
    """Makes podman's configuration, which we use, allow plain HTTP for a registry."""
    directory = CONTAINERS / "registries.conf.d"
    directory.mkdir(parents=True, exist_ok=True)
    name = address.replace(":", "-").replace("/", "-")
    (directory / f"{name}.conf").write_text(
        f'[[registry]]\nlocation = "{address}"\ninsecure = true\n'
    )


@pytest.fixture(scope="session")
def registry(tmp_path_factory):
    """A registry without TLS or users."""
    running = Registry(tmp_path_factory.mktemp("registry"), 5000).start()
    insecure(running.address)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    """A plain web server."""
    running = Web(tmp_path_factory.mktemp("web") / "served").start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """The service on the bus, with a log of dnf5's requests."""
    running = Service(tmp_path_factory.mktemp("service") / "log").start()
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def clean_slate():
    """Removes the caches, repositories and log of other tests."""
    for directory in (CACHE, REPOS):
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
    LOG.unlink(missing_ok=True)
    conf = PLUGIN_CONF.read_text()
    yield
    PLUGIN_CONF.write_text(conf)


@pytest.fixture(autouse=True)
def no_secret_in_logs(clean_slate):
    """No log of ours has a secret; harness.commands looks through all outputs."""
    yield
    secrets.check_logs(LOG)


@pytest.fixture(autouse=True, scope="module")
def no_secret_in_the_journal():
    yield
    secrets.check_journal()


def plugin_option(default, value):
    """Sets an option of the plugin until the test ends."""
    replace(PLUGIN_CONF, default, value)


@pytest.fixture(params=["on-demand", "eager"])
def fetch(clean_slate, request):
    """When content is fetched: both values of the plugin's option."""
    plugin_option("fetch = on-demand", f"fetch = {request.param}")
    return request.param


@pytest.fixture
def eager(clean_slate):
    """The service fetches ahead of dnf5."""
    plugin_option("fetch = on-demand", "fetch = eager")


@pytest.fixture
def chroot(tmp_path):
    """The same root with the same bus, but another cache."""
    root = tmp_path / "chroot"
    root.mkdir()
    # Mounts in the chroot must not propagate.
    run("mount", "--bind", "--make-private", "/", root)
    for directory in ("/run", "/proc", "/dev"):
        run("mount", "--bind", directory, f"{root}{directory}")
    run("mount", "-t", "tmpfs", "tmpfs", f"{root}{CACHE}")
    yield root
    run("umount", "--recursive", root)


class Dnf:
    """dnf5, its repositories and its cache."""

    def __init__(self, tmp_path, name):
        self.tmp_path = tmp_path
        self.name = name

    def __call__(self, *arguments, **options):
        return run("dnf5", *arguments, **options)

    def add(self, repo_id, baseurl, **options):
        """Writes a .repo file."""
        lines = [f"[{repo_id}]", f"name={repo_id}", f"baseurl={baseurl}"]
        for name, user in (("password", "username"), ("proxy_password", "proxy_username")):
            if options.get(name):
                secrets.register(options[name], options.get(user))
        lines += [f"{key}={value}" for key, value in options.items()]
        (REPOS / f"{repo_id}.repo").write_text("\n".join(lines) + "\n")

    def cache(self, repo_id):
        """The cache directory of a repository."""
        found = list(CACHE.glob(f"{repo_id}-*"))
        assert len(found) == 1, f"cache directories of {repo_id}: {found}"
        return found[0]

    @staticmethod
    def clear_cache():
        """Empties the cache."""
        for directory in CACHE.iterdir():
            shutil.rmtree(directory)

    def cached(self, repo_id):
        """The names of the files in it, except dnf5's solv files."""
        top = self.cache(repo_id)
        return sorted(
            str(path.relative_to(top)) for path in top.rglob("*")
            if path.is_file() and "solv" not in path.parts
        )

    def is_whole(self, repo_id):
        """Asserts that the cache has no partial or temporary files."""
        assert not [name for name in self.cached(repo_id) if ".dnf5-oci-" in name]

    @staticmethod
    def failed_head_starts():
        """The reason of each failure to fetch ahead of dnf5, from dnf5's log: the user does not see it."""
        return re.findall("fetching ahead of dnf5 failed: (.*)", LOG.read_text())

    @staticmethod
    def backend(choice):
        """Sets the plugin's option `backend`."""
        plugin_option("backend = auto", f"backend = {choice}")

    def repository(self, name="repository"):
        return Repository(self.tmp_path / name)

    def reference(self, registry, tag="stable"):
        """A reference in the registry that no other test uses."""
        return f"{registry.address}/acme/{self.name}:{tag}"


@pytest.fixture
def dnf(tmp_path, request):
    # As names in a registry must be.
    name = re.sub("[^a-z0-9.]+", "-", request.node.name.removeprefix("test_").lower()).strip("-")
    return Dnf(tmp_path, name)


@pytest.fixture
def dnf4(dnf):
    """DNF 4, with an empty cache."""
    running = Dnf4(dnf)
    with running.clean_slate():
        yield running
    secrets.check_logs(*running.LOGS)


@pytest.fixture
def installed(request):
    """Names of packages to remove after the test."""
    names = []
    yield names
    if names:
        run("rpm", "-e", "--nodeps", *names, code=None)


@pytest.fixture
def pushed(dnf, registry):
    """A repository with one package."""
    repository = dnf.repository().add(build("one")).createrepo()
    repository.push(dnf.reference(registry))
    registry.clear()
    return repository


@pytest.fixture
def url(dnf, registry, pushed):
    return f"{HOST}/{dnf.reference(registry)}"


@pytest.fixture(scope="module")
def private_registry(tmp_path_factory):
    """A registry with authentication."""
    running = Registry(tmp_path_factory.mktemp("private"), 5001, users={"user": PASSWORD}).start()
    insecure(running.address)
    yield running
    running.stop()


@pytest.fixture
def impatient():
    """The service ends after one idle second."""
    with unit("[Service]\nExecStart=\nExecStart=/usr/bin/dnf5-oci serve --idle 1\n"):
        yield


@pytest.fixture
def silent_bus(tmp_path):
    """The environment with a system bus that accepts connections and does not answer."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "bus"))
        listening.listen(16)
        yield NO_BUS | {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={tmp_path}/bus"}


@pytest.fixture
def silent_service():
    """systemd starts a process that never takes the name."""
    with unit("[Service]\nExecStart=\nExecStart=/usr/bin/sleep infinity\n"):
        yield NO_BUS | {"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/run/dbus/system_bus_socket"}
        run("systemctl", "stop", UNIT)


@pytest.fixture
def front(registry):
    """A front of the registry that counts requests, and can fail."""
    running = Front(registry)
    insecure(running.address)
    yield running
    running.stop()


@pytest.fixture
def tools(dnf, registry):
    """A reference in the registry that dnf5 knows as `tools`."""
    reference = dnf.reference(registry)
    dnf.add("tools", f"oci://{reference}")
    return reference


@pytest.fixture(scope="module")
def acme(tmp_path_factory):
    """The owner of the keys that the policy names."""
    return Keys(tmp_path_factory.mktemp("acme"), "acme")


@pytest.fixture
def signatures(registry):
    """Enables all kinds of signatures; restores the configuration after the test."""
    original = POLICY.read_text()
    registries_d(registry.address, lookaside=f"file://{LOOKASIDE}", use_sigstore_attachments="true")
    yield
    POLICY.write_text(original)
    shutil.rmtree(REGISTRIES_D)
    shutil.rmtree(LOOKASIDE, ignore_errors=True)
