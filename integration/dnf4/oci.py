"""The DNF 4 plugin: repositories whose baseurl is oci://… are served to DNF by the dnf5-oci service.

The plugin only passes on configuration and failures; every decision is the service's. Its interface is described in
io.github.dnf5_oci.Backend1.xml.
"""

import atexit
import ctypes
import logging
import os
import re
import threading
from urllib.parse import quote

import dbus
import dnf
from dbus.connection import Connection
from dnf.conf import PRIO_DEFAULT, PRIO_REPOCONFIG

NAME = "io.github.dnf5_oci"
PATH = "/io/github/dnf5_oci"
INTERFACE = NAME + ".Backend1"
BUS = "org.freedesktop.DBus"
BUS_PATH = "/org/freedesktop/DBus"
SYSTEM_BUS = "unix:path=/run/dbus/system_bus_socket"

# How long an instance may take to start, and how long where a private one does as well, in seconds.
START_TIMEOUT = 15
START_TIMEOUT_WITH_ALTERNATIVE = 1
# How long a call may take. The service itself notices a registry that sends nothing.
CALL_TIMEOUT = 600

# Options of a repository and the service's names for them.
PASSED_ON = {
    "username": "username", "password": "password", "sslcacert": "ca-cert", "sslclientcert": "client-cert",
    "sslclientkey": "client-key", "proxy": "proxy", "proxy_username": "proxy-username",
    "proxy_password": "proxy-password",
}
# Options that the service has no equivalent for.
IGNORED = (
    "ip_resolve", "proxy_auth_method", "proxy_sslcacert", "proxy_sslclientcert", "proxy_sslclientkey", "proxy_sslverify",
)
# The variables that libcurl takes a proxy from. The service on the system bus has another environment.
PROXY_VARIABLES = ("https_proxy", "http_proxy", "all_proxy", "no_proxy")

# For DNF's connection to the service. A package in a large layer arrives after silence, and the service applies the
# user's values to the registry. libcurl sends no user name without a password, which the service ignores.
CONNECTION = {"timeout": 3600, "minrate": 1, "proxy_password": "-"}
# The most that DNF allows: the service decides how many requests the registry gets.
DOWNLOADS = {"max_parallel_downloads": 20, "max_downloads_per_mirror": 20}

logger = logging.getLogger("dnf.plugin")


class Unusable(Exception):
    """Why the service cannot be used, and what to do about it."""


def is_reference(url):
    return url.lower().startswith("oci://")


def line_of(error):
    """The line for the user: the service's messages are complete, others come from the bus."""
    if error.get_dbus_name().startswith(NAME):
        return error.get_dbus_message()
    return "the dnf5-oci service failed: %s; run dnf again, and see its log" % error.get_dbus_message()


def check_libcurl():
    """Checks that DNF would reach the service: otherwise it might talk to whoever listens on port 1080."""
    if os.environ.get("no_proxy", os.environ.get("NO_PROXY")) == "*":
        raise Unusable("no_proxy=* disables all proxies, and the service is one for dnf; unset no_proxy")
    try:
        curl_version = ctypes.CDLL("libcurl.so.4").curl_version
    except OSError:
        return
    curl_version.restype = ctypes.c_char_p
    found = re.match(r"libcurl/(\d+)\.(\d+)", curl_version().decode())
    if found and (int(found.group(1)), int(found.group(2))) < (7, 84):
        raise Unusable('%s knows no proxy on a Unix socket; use 7.84 or newer, or "dnf5-oci run"' % found.group())


def connect(address, bus_name, timeout):
    """Connects to an instance. In a thread, because libdbus waits forever for a bus that is silent."""
    outcome = [Unusable("timed out after %d s" % timeout)]

    def attempt():
        try:
            connection = Connection(address)
            if bus_name:
                connection.call_blocking(BUS, BUS_PATH, BUS, "Hello", "", ())
            connection.call_blocking(bus_name, PATH, BUS + ".Properties", "Get", "ss", (INTERFACE, "Version"))
            outcome[0] = connection
        except dbus.DBusException as error:
            outcome[0] = Unusable(error.get_dbus_message())

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(timeout)
    if isinstance(outcome[0], Unusable):
        raise outcome[0]
    return outcome[0]


def connect_to_system(timeout):
    return connect(os.environ.get("DBUS_SYSTEM_BUS_ADDRESS", SYSTEM_BUS), NAME, timeout)


def start_private(program):
    if not os.access(program, os.X_OK):
        raise Unusable('%s cannot be executed; check "service" in oci.conf' % program)
    return connect("unixexec:path=%s,argv1=serve,argv2=--fd,argv3=0" % quote(program), None, START_TIMEOUT)


def sees(connection, directory):
    """Whether the service on the bus sees the same directory: a host's does not in a container or a chroot."""
    process = connection.call_blocking(BUS, BUS_PATH, BUS, "GetConnectionUnixProcessID", "s", (NAME,))
    os.makedirs(directory, exist_ok=True)
    return os.path.samefile("/proc/%d/root%s" % (process, directory), directory)


def access_options(repo):
    """How the registry is reached, as options of the service's methods."""
    def is_set(name):
        return repo._get_priority(name) > PRIO_DEFAULT

    options = {PASSED_ON[name]: getattr(repo, name) or "" for name in PASSED_ON if is_set(name)}
    # An empty proxy is none, whatever the environment says.
    options = {name: value for name, value in options.items() if value or name == "proxy"}
    if not repo.sslverify:
        options["tls-verify"] = False
    if is_set("minrate"):
        options["minrate"] = dbus.UInt64(repo.minrate)
    if is_set("timeout"):
        options["timeout"] = dbus.UInt32(repo.timeout)
    variables = {name: value for name, value in os.environ.items() if name.lower() in PROXY_VARIABLES}
    options["environment"] = dbus.Dictionary(variables, signature="ss")
    return options


class Oci(dnf.Plugin):
    name = "oci"

    def __init__(self, base, cli):
        super(Oci, self).__init__(base, cli)
        self.connection = None
        self.bus_name = None
        # How each repository that is served is reached.
        self.served = {}
        self.has_packages = False

    def config(self):
        repos = [repo for repo in self.base.repos.iter_enabled()
                 if any(map(is_reference, repo.baseurl)) and not (repo.metalink or repo.mirrorlist)]
        if not repos:
            return
        try:
            check_libcurl()
            self.connect()
        except Unusable as error:
            # DNF knows no oci:// itself, so the repositories are unavailable, and nothing else is.
            logger.error("dnf5-oci: connection to the service failed: %s", error)
            return
        atexit.register(self.report)
        for repo in repos:
            self.attempt(self.open, repo)
            if repo in self.served and repo.repo_gpgcheck:
                self.attempt(self.fetch_keys, repo)

    def sack(self):
        self.report()

    def resolved(self):
        self.has_packages = False
        if self.base.conf.assumeno:
            return
        for repo in self.served:
            packages = [package for package in self.base.transaction.install_set if package.reponame == repo.id]
            if packages:
                self.attempt(self.fetch_keys, repo)
                self.attempt(self.announce, repo, packages)

    def pre_transaction(self):
        self.report()
        self.has_packages = True

    def connect(self):
        conf = self.read_config(self.base.conf)
        backend = conf.get("main", "backend") if conf.has_option("main", "backend") else "auto"
        program = conf.get("main", "service") if conf.has_option("main", "service") else "/usr/bin/dnf5-oci"
        if backend not in ("auto", "system", "private"):
            raise Unusable('unknown backend "%s" in oci.conf; use auto, system or private' % backend)
        if backend == "system":
            self.connection = connect_to_system(START_TIMEOUT)
        elif backend == "auto" and os.geteuid() == 0:
            try:
                connection = connect_to_system(START_TIMEOUT_WITH_ALTERNATIVE)
                if sees(connection, self.base.conf.cachedir):
                    self.connection = connection
            except (Unusable, OSError, dbus.DBusException) as error:
                logger.debug("oci: no service on the system bus: %s", error)
        if self.connection:
            self.bus_name = NAME
        else:
            self.connection = start_private(program)

    def call(self, method, signature, *arguments):
        return self.connection.call_blocking(
            self.bus_name, PATH, INTERFACE, method, signature, arguments, timeout=CALL_TIMEOUT)

    def attempt(self, action, repo, *arguments):
        try:
            action(repo, *arguments)
        except UnicodeError:
            logger.error("repository %s: an option or a proxy variable is not valid UTF-8; correct it", repo.id)
        except dbus.DBusException as error:
            logger.error(line_of(error))

    def open(self, repo):
        """Has the service serve a repository, and points DNF there. Fetches nothing."""
        access = access_options(repo)
        access["arch"] = self.base.conf.substitutions["basearch"]
        ignored = [name for name in IGNORED if repo._get_priority(name) >= PRIO_REPOCONFIG]
        options = dict(access, ignored=dbus.Array(ignored, signature="s"), cachedir=self.base.conf.cachedir)
        urls = []
        for url in repo.baseurl:
            if is_reference(url):
                url, repo.proxy, repo.proxy_username = self.call("OpenRepository", "ssa{sv}", repo.id, url, options)
            urls.append(url)
            # DNF names a repository's cache directory after the first.
            options.pop("cachedir", None)
        repo.baseurl = urls
        for name, value in DOWNLOADS.items():
            if repo._get_priority(name) == PRIO_DEFAULT:
                setattr(repo, name, value)
        for name, value in CONNECTION.items():
            setattr(repo, name, value)
        self.served[repo] = access

    def fetch_keys(self, repo):
        """Points DNF to the repository's keys in its cache: it would warn that http:// is not encrypted."""
        if not any(map(is_reference, repo.gpgkey)):
            return
        max_age = -1 if self.base.conf.cacheonly else repo.metadata_expire
        options = dict(self.served[repo], **{"max-age": dbus.Int64(max_age), "repo-file": repo.repofile})
        repo.gpgkey = ["file://" + self.call("FetchFile", "sssa{sv}", repo.id, key, repo._repo.getCachedir(), options)
                       if is_reference(key) else key for key in repo.gpgkey]

    def announce(self, repo, packages):
        # With a base URL the package is on another host.
        missing = [(package.location, ":".join(package.returnIdSum()), package.downloadsize) for package in packages
                   if not package.baseurl and not os.path.exists(package.localPkg())]
        if missing and not self.base.conf.cacheonly:
            self.call("AnnouncePackages", "sa(sst)a{sv}", repo.id, missing, {})

    def report(self):
        """Tells the reasons of failures since the last time: DNF's own messages only have a URL and a status."""
        try:
            lines = self.call("TakeFailures", "") if self.connection else []
        except dbus.DBusException as error:
            self.connection = None
            # A transaction may have replaced or stopped the service.
            lines = [] if self.has_packages else [line_of(error)]
        for line in lines:
            logger.error(line)
