"""The DNF 4 plugin: repositories whose baseurl is oci://… are served to DNF by the dnf5-oci service.

It only passes on configuration and failures; every decision is the service's. io.github.dnf5_oci.Backend1.xml
describes the service's methods.
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
from dbus.lowlevel import MethodCallMessage
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
# How long a call may take, and one that fetches a file.
CALL_TIMEOUT = 15
FETCH_TIMEOUT = 120

# Options of a repository and the service's names for them, and those that it has no equivalent for.
PASSED_ON = {"username": "username", "password": "password", "sslcacert": "ca-cert", "sslclientcert": "client-cert",
             "sslclientkey": "client-key", "proxy": "proxy", "proxy_username": "proxy-username",
             "proxy_password": "proxy-password"}
IGNORED = ("ip_resolve", "proxy_auth_method", "proxy_sslcacert", "proxy_sslclientcert", "proxy_sslclientkey",
           "proxy_sslverify")
# The variables that libcurl takes a proxy from. The service on the system bus has another environment.
PROXY_VARIABLES = ("https_proxy", "http_proxy", "all_proxy", "no_proxy")

# For DNF's connection to the service. A package in a large layer arrives after silence, and the service applies the
# user's values to the registry. libcurl sends no user name without a password, which the service ignores.
CONNECTION = {"timeout": 3600, "minrate": 1, "proxy_password": "-"}
# The most that DNF allows: the service decides how many requests the registry gets.
DOWNLOADS = {"max_parallel_downloads": 20, "max_downloads_per_mirror": 20}

logger = logging.getLogger("dnf.plugin")


class Unusable(Exception):
    """DNF cannot reach the service."""

    def __init__(self, why, remedy='check "backend" and "service" in oci.conf'):
        super().__init__("dnf5-oci: connection to the service failed: %s; %s" % (why, remedy))


def reason(error):
    """libdbus has several sentences for a peer that is gone."""
    return error.get_dbus_message().partition(". ")[0]


def is_reference(url):
    return url.lower().startswith("oci://")


def needs_tcp():
    """Whether libcurl is older than 7.84: it would take a proxy on a Unix socket for port 1080 of this machine."""
    try:
        curl_version = ctypes.CDLL("libcurl.so.4").curl_version
    except OSError:
        # Debian's librepo has another, which is new enough.
        return False
    curl_version.restype = ctypes.c_char_p
    found = re.match(r"libcurl/(\d+)\.(\d+)", curl_version().decode())
    return bool(found) and tuple(map(int, found.groups())) < (7, 84)


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
            outcome[0] = Unusable(reason(error))

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(timeout)
    if isinstance(outcome[0], Unusable):
        raise outcome[0]
    return outcome[0]


def system_instance(timeout):
    return connect(os.environ.get("DBUS_SYSTEM_BUS_ADDRESS", SYSTEM_BUS), NAME, timeout)


def private_instance(program):
    if not os.access(program, os.X_OK):
        raise Unusable("%s cannot be executed" % program)
    return connect("unixexec:path=%s,argv1=serve,argv2=--fd,argv3=0" % quote(program), None, START_TIMEOUT)


def shares(connection, directory):
    """Whether the service on the bus sees the same directory: a host's does not in a container or a chroot."""
    process = connection.call_blocking(BUS, BUS_PATH, BUS, "GetConnectionUnixProcessID", "s", (NAME,))
    os.makedirs(directory, exist_ok=True)
    return os.path.samefile("/proc/%d/root%s" % (process, directory), directory)


def priority(repo, name):
    """Where an option has its value from. Not every libdnf has each of them."""
    return repo._get_priority(name) or PRIO_DEFAULT


def access_options(repo, basearch):
    """How the registry is reached, as options of the service's methods."""
    given = {name: getattr(repo, name) for name in (*PASSED_ON, "minrate", "timeout")
             if priority(repo, name) > PRIO_DEFAULT}
    # An empty value means no proxy, whatever the environment says.
    options = {PASSED_ON[name]: value or "" for name, value in given.items()
               if name in PASSED_ON and (value or name == "proxy")}
    options["arch"] = basearch
    variables = {name: value for name, value in os.environ.items() if name.lower() in PROXY_VARIABLES}
    options["environment"] = dbus.Dictionary(variables, signature="ss")
    if not repo.sslverify:
        options["tls-verify"] = False
    if "minrate" in given:
        options["minrate"] = dbus.UInt64(given["minrate"])
    if "timeout" in given:
        options["timeout"] = dbus.UInt32(given["timeout"])
    return options


class Oci(dnf.Plugin):
    name = "oci"

    def __init__(self, base, cli):
        super().__init__(base, cli)
        self.connection = None
        self.bus_name = None
        # How each repository that is served is reached.
        self.served = {}
        self.errors = set()
        self.has_packages = False

    def config(self):
        repos = [repo for repo in self.base.repos.iter_enabled()
                 if any(map(is_reference, repo.baseurl)) and not (repo.metalink or repo.mirrorlist)]
        if not repos:
            return
        try:
            if os.environ.get("no_proxy", os.environ.get("NO_PROXY")) == "*":
                raise Unusable("no_proxy=* disables all proxies, and the service is one for dnf", "unset no_proxy")
            self.connect()
        except Unusable as error:
            # DNF does not know oci://, so the repositories are unavailable, and nothing else is.
            logger.error("%s", error)
            return
        for repo in repos:
            self.attempt(self.open, repo)
            if repo in self.served and repo.repo_gpgcheck:
                self.attempt(self.fetch_keys, repo)
        atexit.register(self.report)

    def sack(self):
        self.report()

    def resolved(self):
        self.has_packages = False
        if self.base.conf.assumeno:
            return
        for repo in self.served:
            packages = [package for package in self.base.transaction.install_set if package.reponame == repo.id]
            if packages and repo.gpgcheck:
                self.attempt(self.fetch_keys, repo)
            if packages:
                self.attempt(self.announce, repo, packages)

    def pre_transaction(self):
        self.report()
        self.has_packages = True

    def connect(self):
        conf = self.read_config(self.base.conf)
        backend, program = (conf.get("main", name) if conf.has_option("main", name) else default
                            for name, default in (("backend", "auto"), ("service", "/usr/bin/dnf5-oci")))
        if backend not in ("auto", "system", "private"):
            raise Unusable('unknown backend "%s"' % backend, "use auto, system or private in oci.conf")
        if backend == "system":
            self.connection = system_instance(START_TIMEOUT)
        elif backend == "auto" and os.geteuid() == 0:
            try:
                connection = system_instance(START_TIMEOUT_WITH_ALTERNATIVE)
                self.connection = connection if shares(connection, self.base.conf.cachedir) else None
            except (Unusable, OSError, dbus.DBusException) as error:
                logger.debug("oci: starting a private instance: %s", error)
        self.bus_name = NAME if self.connection else None
        self.connection = self.connection or private_instance(program)

    def call(self, method, signature, *arguments, timeout=CALL_TIMEOUT):
        message = MethodCallMessage(self.bus_name, PATH, INTERFACE, method)
        # Not call_blocking(), which logs arguments that are not valid, passwords as well.
        message.append(*arguments, signature=signature)
        return self.connection.send_message_with_reply_and_block(message, timeout).get_args_list()

    def attempt(self, action, repo, *arguments):
        try:
            action(repo, *arguments)
        except (TypeError, ValueError):
            logger.error("repository %s: an option or a proxy variable is not valid UTF-8; correct it", repo.id)
        except dbus.DBusException as error:
            self.tell(error)

    def tell(self, error):
        line = error.get_dbus_message()
        # The service's own messages are complete; others come from the bus.
        if not error.get_dbus_name().startswith(NAME):
            line = "the dnf5-oci service failed: %s; run dnf again, and see its log" % reason(error)
        if line not in self.errors:
            self.errors.add(line)
            logger.error("%s", line)

    def open(self, repo):
        """Has the service serve a repository, and points DNF there. Fetches nothing."""
        access = access_options(repo, self.base.conf.substitutions["basearch"])
        ignored = [name for name in IGNORED if priority(repo, name) >= PRIO_REPOCONFIG]
        options = dict(access, ignored=dbus.Array(ignored, signature="s"), cachedir=self.base.conf.cachedir,
                       tcp=needs_tcp())
        urls = list(repo.baseurl)
        for index, url in enumerate(urls):
            if is_reference(url):
                urls[index], proxy, username = self.call("OpenRepository", "ssa{sv}", repo.id, url, options)
            # DNF names a repository's cache directory after the first.
            options.pop("cachedir", None)
        defaults = {name: value for name, value in DOWNLOADS.items() if priority(repo, name) == PRIO_DEFAULT}
        for name, value in dict(CONNECTION, baseurl=urls, proxy=proxy, proxy_username=username, **defaults).items():
            setattr(repo, name, value)
        self.served[repo] = access

    def fetch_keys(self, repo):
        """Points DNF to the repository's keys in its cache: it would warn that http:// is not encrypted."""
        max_age = -1 if self.base.conf.cacheonly else repo.metadata_expire
        options = dict(self.served[repo], **{"max-age": dbus.Int64(max_age), "repo-file": repo.repofile})
        cache = repo._repo.getCachedir()
        keys = list(repo.gpgkey)
        for index, key in enumerate(keys):
            if is_reference(key):
                [path] = self.call("FetchFile", "sssa{sv}", repo.id, key, cache, options, timeout=FETCH_TIMEOUT)
                keys[index] = "file://" + path
        repo.gpgkey = keys

    def announce(self, repo, packages):
        # With a base URL the package is on another host.
        missing = [(package.location, ":".join(package.returnIdSum()), package.downloadsize) for package in packages
                   if not package.baseurl and not os.path.exists(package.localPkg())]
        if missing and not self.base.conf.cacheonly:
            self.call("AnnouncePackages", "sa(sst)a{sv}", repo.id, missing, {})

    def report(self):
        """Prints the reasons of failures since the last time: DNF's own messages only have a URL and a status."""
        if not self.served:
            return
        try:
            [lines] = self.call("TakeFailures", "")
            for line in lines:
                logger.error("%s", line)
        except dbus.DBusException as error:
            self.served.clear()
            # A transaction may have replaced or stopped the service.
            if not self.has_packages:
                self.tell(error)
