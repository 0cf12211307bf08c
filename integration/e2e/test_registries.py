"""registries.conf means the same for dnf5 as for skopeo."""

import hashlib
import json
import os
import re
import shutil
import signal
from pathlib import Path

import pytest

from conftest import CONTAINERS, PLUGIN_CONF, insecure
from harness.commands import processes, run, wait_until
from harness.registry import Registry
from harness.repository import Repository, build
from harness.service import is_on_the_bus

MAIN = CONTAINERS / "registries.conf"
DROP_INS = CONTAINERS / "registries.conf.d"
HOME = Path("/root/.config/containers")
SERVICE = ("dnf5-oci", "serve")
UNPACKED = Path("/var/cache/dnf5-oci")

# A port without a listener.
DEAD = "localhost:5099"


class Hosts:
    """Three registries without TLS."""

    def __init__(self, directory):
        self.all = {}
        for port, name in enumerate(["first", "second", "empty"], start=5001):
            self.all[name] = Registry(directory / name, port).start()
        self.addresses = {name: host.address for name, host in self.all.items()} | {"dead": DEAD}

    def __getitem__(self, name):
        return self.all[name]

    def fill(self, text):
        """Replaces names in braces by addresses."""
        return re.sub(r"{(\w+)}", lambda found: self.addresses[found[1]], text)

    def clear(self):
        for host in self.all.values():
            host.clear()

    def requested(self, kind="/manifests/"):
        """The requests to each registry since clear()."""
        return {name: sorted(set(host.requests(kind))) for name, host in self.all.items()}

    def served(self, kind="/manifests/"):
        """The registries that have answered successfully."""
        return [name for name, host in self.all.items()
                if any(status == 200 for _, _, status in host.requests(kind))]


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    """acme/rpms:stable differs in each registry, acme/rpms:same does not."""
    top = tmp_path_factory.mktemp("hosts")
    hosts = Hosts(top)
    for name in ("first", "second"):
        repository = Repository(top / f"repository-{name}").add(build(f"from-{name}")).createrepo()
        repository.push(f"{hosts[name].address}/acme/rpms:stable")
    same = Repository(top / "repository-same").add(build("from-both")).createrepo()
    hosts.digest = same.push(f"{hosts['first'].address}/acme/rpms:same")
    copy(hosts["first"], hosts["second"], "acme/rpms:same")
    yield hosts
    for host in hosts.all.values():
        host.stop()


def copy(source, target, reference):
    run("skopeo", "copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false",
        f"docker://{source.address}/{reference}", f"docker://{target.address}/{reference}")


@pytest.fixture(autouse=True)
def as_before():
    """Restores the configuration after each test."""
    originals = {path: path.read_bytes() for path in [MAIN, *DROP_INS.iterdir()]}
    yield
    for directory in (DROP_INS, HOME):
        if directory.is_symlink():
            directory.unlink()
        shutil.rmtree(directory, ignore_errors=True)
    DROP_INS.mkdir()
    for path, content in originals.items():
        path.write_bytes(content)


@pytest.fixture
def conf(hosts):
    """Writes a drop-in, or another file of registries.conf."""

    def write(text, file=DROP_INS / "50-test.conf"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(hosts.fill(text))
        return file

    return write


class Outcome:
    """The outcome for a reference: the requests for its manifest, and the message if it failed."""

    def __init__(self, hosts, result, message):
        self.requested = hosts.requested()
        self.served = hosts.served()
        self.result = result
        self.message = " ".join(message.split())


def with_skopeo(hosts, reference, environment=None):
    hosts.clear()
    result = run("skopeo", "inspect", "--raw", f"docker://{reference}", code=None, env=environment)
    message = ""
    if result.code:
        quoted = re.search(r'msg="((?:[^"\\]|\\.)*)"', result.output)[1]
        message = json.loads(f'"{quoted}"').partition(f'"docker://{reference}": ')[2]
        assert message, str(result)
    return Outcome(hosts, result, message)


def with_dnf5(hosts, dnf, reference, environment=None):
    dnf.add("tools", f"oci://{reference}")
    hosts.clear()
    result = dnf("--refresh", "repoquery", "--repo=tools", code=None, env=environment)
    return Outcome(hosts, result, result.output)


def same(hosts, dnf, reference, environment=None):
    """Asserts the same outcome for skopeo and dnf5; returns the registries that have answered."""
    wanted = with_skopeo(hosts, reference, environment)
    found = with_dnf5(hosts, dnf, reference, environment)
    assert found.requested == wanted.requested, str(found.result)
    assert (found.result.code == 0) == (wanted.result.code == 0), str(found.result)
    if wanted.result.code:
        found.result.tells(wanted.message)
    else:
        # Layers that are already unpacked are not requested.
        assert set(hosts.served("/blobs/")) <= set(found.served), "blobs from elsewhere"
    return wanted.served[0] if wanted.served else wanted.message


def entry(prefix, location, *mirrors, options="insecure = true"):
    """An entry. A mirror is a location, followed by its options."""
    lines = ["[[registry]]", f'prefix = "{prefix}"', f'location = "{location}"', options]
    for mirror in mirrors:
        location, *more = mirror.split("; ")
        lines += ["[[registry.mirror]]", f'location = "{location}"', "insecure = true", *more]
    return "\n".join(lines) + "\n"


GONE = "gone.example"
TAG = f"{GONE}/acme/rpms:same"
DIGEST = f"{GONE}/acme/rpms@DIGEST"
DIGEST_ONLY = 'pull-from-mirror = "digest-only"'
TAG_ONLY = 'pull-from-mirror = "tag-only"'
BY_DIGEST = "insecure = true\nmirror-by-digest-only = true"
BLOCKED = "blocked = true"

# The file, the reference, the registry that serves it or the message, and the prefix of the entry.
CASES = {
    "location": (entry(GONE, "{first}"), TAG, "first", GONE),
    "location-below": (entry(f"{GONE}/x/y", "{first}/acme"), f"{GONE}/x/y/rpms:same", "first",
                       f"{GONE}/x/y"),
    "longest-prefix": (entry(GONE, "{first}") + entry(f"{GONE}/acme", "{second}/acme"), TAG,
                       "second", f"{GONE}/acme"),
    "no-prefix-within-a-name": (entry(GONE, "{first}") + entry(f"{GONE}/acm", "{second}/acm"), TAG,
                                "first", GONE),
    "first-of-one-prefix": (entry(GONE, "{first}") + entry(f"{GONE}/", "{second}"), TAG, "first",
                            GONE),
    "wildcard": (entry("*.example", "{first}"), "a.b.example/acme/rpms:same", "first", "*.example"),
    "wildcard-and-host": (entry("*.b.example", "{first}") + entry("aa.b.example", "{second}"),
                          "aa.b.example/acme/rpms:same", "second", "aa.b.example"),
    "wildcard-as-long-as-the-host": (entry("*.b.example", "{first}") + entry("a.b.example", "{second}"),
                                     "a.b.example/acme/rpms:same", "first", "*.b.example"),
    "wildcard-not-itself": (entry("*.gone.example", "{first}"), TAG, "no such host", None),
    "mirror-after-a-dead-one": (entry(GONE, GONE, "{dead}", "{first}"), TAG, "first", GONE),
    "mirror-after-an-empty-one": (entry(GONE, GONE, "{empty}", "{second}"), TAG, "second", GONE),
    "mirrors-in-order": (entry(GONE, "{first}", "{second}", "{first}"), TAG, "second", GONE),
    "location-after-mirrors": (entry(GONE, "{first}", "{dead}", "{empty}"), TAG, "first", GONE),
    "all-fail": (entry(GONE, "{dead}", "{dead}", "{empty}"), TAG, "(Mirrors also failed: ", GONE),
    "digest-only-tag": (entry(GONE, "{second}", f"{{first}}; {DIGEST_ONLY}"), TAG, "second", GONE),
    "digest-only-digest": (entry(GONE, "{second}", f"{{first}}; {DIGEST_ONLY}"), DIGEST, "first",
                           GONE),
    "tag-only-tag": (entry(GONE, "{second}", f"{{first}}; {TAG_ONLY}"), TAG, "first", GONE),
    "tag-only-digest": (entry(GONE, "{second}", f"{{first}}; {TAG_ONLY}"), DIGEST, "second", GONE),
    "by-digest-tag": (entry(GONE, "{second}", "{first}", options=BY_DIGEST), TAG, "second", GONE),
    "by-digest-digest": (entry(GONE, "{second}", "{first}", options=BY_DIGEST), DIGEST, "first",
                         GONE),
    "not-insecure": (entry(GONE, "{first}", options=""), TAG,
                     "server gave HTTP response to HTTPS client", GONE),
    "mirror-alone-insecure": (entry(GONE, "{second}", "{first}", options=""), TAG, "first", GONE),
    "blocked": (entry(GONE, "{first}", options=BLOCKED) + entry("{first}", "{first}", options=BLOCKED),
                TAG, "is blocked in", GONE),
    "blocked-below": (entry(f"{GONE}/acme", f"{GONE}/acme", options=BLOCKED) + entry(GONE, "{first}"),
                      TAG, "is blocked in", f"{GONE}/acme"),
    "not-blocked-below": (entry(GONE, GONE, options=BLOCKED) + entry(f"{GONE}/acme", "{first}/acme"),
                          TAG, "first", f"{GONE}/acme"),
    "blocked-with-a-mirror": (entry(GONE, GONE, "{first}", options=BLOCKED), TAG, "first", GONE),
    "malformed": ("[[registry]]\nlocation = 1\n", TAG, "50-test.conf\": toml: line 2 ", None),
    "impossible": (entry(GONE, "http://{first}"), TAG, "URI schemes are not supported", None),
}


@pytest.mark.parametrize("case", CASES)
def test_the_same_as_skopeo(hosts, dnf, conf, case):
    text, reference, expected, prefix = CASES[case]
    file = conf(text)
    reference = reference.replace("DIGEST", hosts.digest)
    outcome = same(hosts, dnf, reference)
    assert expected == outcome or (expected not in hosts.all and expected in outcome), outcome
    if expected in ("is blocked in", "URI schemes are not supported") or case == "malformed":
        assert doctor(reference, "registries.conf", code=1)[0] == "failed"
    step = doctor(reference, "registries.conf", code=0 if expected in hosts.all else 1)[1]
    if prefix:
        assert step.startswith(f"{file}: {prefix}"), step
    elif case in ("malformed", "impossible"):
        assert step.startswith(f"{file}: "), step
    else:
        assert step.startswith(f"no entry for {reference.split('/')[0]}"), step


def doctor(reference, part, code=0, environment=None):
    """The verdict and the text of a step."""
    result = run("dnf5-oci", "doctor", f"oci://{reference}", code=code, env=environment)
    return re.search(rf"^{re.escape(part)} +(\w+) +(.*)$", result.output, re.MULTILINE).groups()


def test_a_malformed_file_is_one_clear_line(hosts, dnf, conf):
    file = conf("[[registry\n")
    found = with_dnf5(hosts, dnf, TAG)
    lines = [line for line in found.result.output.splitlines() if file.name in line]
    assert len(lines) == 1, str(found.result)
    assert f"repository tools oci://{TAG}: " in lines[0] and "toml: line 2: " in lines[0], lines[0]


def test_drop_ins_in_order(hosts, dnf, conf):
    conf(entry(GONE, "{empty}"), MAIN)
    conf(entry(GONE, "{second}"), DROP_INS / "20.conf")
    conf(entry(GONE, "{first}"), DROP_INS / "10.conf")
    conf("not read", DROP_INS / "30.conf.off")
    assert same(hosts, dnf, TAG) == "second"
    assert doctor(TAG, "registries.conf")[1].startswith(f"{DROP_INS}/20.conf: ")
    (DROP_INS / "20.conf").rename(DROP_INS / "05.conf")
    assert same(hosts, dnf, TAG) == "first"
    assert doctor(TAG, "registries.conf")[1].startswith(f"{DROP_INS}/10.conf: ")


def test_a_users_own_file_stands_in_for_the_systems(hosts, dnf, conf):
    dnf.backend("private")
    conf(entry(GONE, "{first}"), MAIN)
    conf(entry(GONE, "{first}"))
    own = conf(entry(GONE, "{second}"), HOME / "registries.conf")
    assert same(hosts, dnf, TAG) == "second"
    environment = os.environ | {"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nonexistent"}
    step = doctor(TAG, "registries.conf", environment=environment)[1]
    assert step.startswith(f"{own}: {GONE} is at localhost:5002"), step
    own.unlink()
    conf(entry(GONE, "{second}"), HOME / "registries.conf.d/own.conf")
    assert same(hosts, dnf, TAG) == "second"
    shutil.rmtree(HOME)
    assert same(hosts, dnf, TAG) == "first"


def test_an_ordinary_user_has_a_file_too(hosts, dnf, conf, tmp_path_factory):
    home = Path("/home/somebody")
    conf(entry(GONE, "{second}"), home / ".config/containers/registries.conf")
    conf(entry(GONE, "{first}"))
    for path in [home, *home.rglob("*")]:
        os.chown(path, 1234, 1234)
    user = ("setpriv", "--reuid=1234", "--regid=1234", "--clear-groups", "env", f"HOME={home}")
    hosts.clear()
    run(*user, "skopeo", "inspect", "--raw", f"docker://{TAG}")
    asked = hosts.requested()
    assert hosts.served() == ["second"]
    dnf.add("tools", f"oci://{TAG}")
    hosts.clear()
    run(*user, "dnf5", "repoquery").has("from-both")
    assert hosts.requested() == asked


@pytest.mark.parametrize("variable", ["CONTAINERS_REGISTRIES_CONF", "REGISTRIES_CONFIG_PATH"])
def test_what_skopeo_does_not_read_is_not_read(hosts, dnf, conf, tmp_path, variable):
    dnf.backend("private")
    conf(entry(GONE, "{first}"))
    other = conf(entry(GONE, "{second}"), tmp_path / "other.conf")
    assert same(hosts, dnf, TAG, os.environ | {variable: str(other)}) == "first"


class TestChange:
    """The files change while the service runs: the next request follows them."""

    @pytest.fixture(autouse=True)
    def running(self, hosts, dnf, conf):
        conf(entry(GONE, "{first}"))
        self.obeys = lambda expected: self.ask(hosts, dnf, expected)
        self.obeys("first")
        before = processes(*SERVICE)
        assert len(before) == 1
        yield
        assert processes(*SERVICE) == before, "it has not been restarted"

    @staticmethod
    def ask(hosts, dnf, expected):
        outcome = same(hosts, dnf, TAG)
        assert expected in outcome, outcome

    def test_an_entry_changed_and_removed_and_added(self, conf):
        file = conf(entry(GONE, "{second}"))
        self.obeys("second")
        file.unlink()
        self.obeys("no such host")
        conf(entry(GONE, "{first}"), DROP_INS / "99.conf")
        self.obeys("first")
        conf(entry(f"{GONE}/acme", f"{GONE}/acme", options=BLOCKED))
        self.obeys("is blocked in")

    def test_a_mirror_added(self, conf):
        conf(entry(GONE, "{first}", "{second}"))
        self.obeys("second")
        conf(entry(GONE, "{first}"))
        self.obeys("first")

    def test_the_main_file(self, conf):
        conf(entry("gone.example/acme", "{second}/acme"), MAIN)
        self.obeys("second")

    def test_replaced_by_a_file_with_the_same_size_and_time(self, conf, hosts):
        file = DROP_INS / "50-test.conf"
        status = file.stat()
        other = conf(entry(GONE, "{second}"), CONTAINERS / "other")
        assert other.stat().st_size == status.st_size
        os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
        other.rename(file)
        self.obeys("second")

    def test_written_over_with_the_same_size_and_time(self, conf):
        file = DROP_INS / "50-test.conf"
        status = file.stat()
        conf(entry(GONE, "{second}"))
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
        self.obeys("second")

    def test_a_link_whose_file_changes(self, conf, tmp_path):
        target = conf(entry(GONE, "{first}", "{first}"), tmp_path / "elsewhere")
        (DROP_INS / "50-test.conf").unlink()
        (DROP_INS / "50-test.conf").symlink_to(target)
        self.obeys("first")
        conf(entry(GONE, "{first}", "{second}"), target)
        self.obeys("second")

    def test_a_directory_removed_and_made(self, conf):
        shutil.rmtree(DROP_INS)
        self.obeys("no such host")
        conf(entry(GONE, "{second}"))
        self.obeys("second")

    def test_a_directory_that_is_a_link_is_not_read(self, tmp_path):
        shutil.copytree(DROP_INS, tmp_path / "elsewhere")
        shutil.rmtree(DROP_INS)
        DROP_INS.symlink_to(tmp_path / "elsewhere")
        self.obeys("no such host")

    def test_files_of_the_user_of_the_service(self, conf):
        conf(entry(f"{GONE}/acme", "{second}/acme"), HOME / "registries.conf.d/1.conf")
        self.obeys("second")


def plugin(fetched, backend="system"):
    """Sets the plugin's options, more than once in a test."""
    text = PLUGIN_CONF.read_text()
    for key, value in {"fetch": fetched, "backend": backend}.items():
        text = re.sub(f"^{key} = .*$", f"{key} = {value}", text, flags=re.MULTILINE)
    PLUGIN_CONF.write_text(text)


def fetch(dnf, packages="p*"):
    """Downloads packages with dnf5; returns its output."""
    environment = os.environ | {"DNF5_OCI_LOG": "info"}
    result = dnf("-y", "install", "--downloadonly", packages, env=environment)
    dnf.is_whole("tools")
    return result


class TestIncompleteMirror:
    """A mirror has the manifest, but not every blob in it."""

    PACKAGES = 8

    @pytest.fixture(autouse=True)
    def mirrored(self, hosts, dnf, conf):
        """The same repository in two registries, mirrors of a host that does not exist."""
        self.hosts, self.conf = hosts, conf
        repository = dnf.repository()
        for number in range(self.PACKAGES):
            repository.add(build(f"p{number}", size=1000))
        repository.createrepo().push(f"{hosts['first'].address}/acme/{dnf.name}:1")
        copy(hosts["first"], hosts["second"], f"acme/{dnf.name}:1")
        self.name = f"acme/{dnf.name}"
        manifest = json.loads(run("skopeo", "inspect", "--raw", "--tls-verify=false",
                                  f"docker://{hosts['first'].address}/{self.name}:1").output)
        self.layers = {layer["annotations"]["org.opencontainers.image.title"]: layer["digest"]
                       for layer in manifest["layers"]}
        self.packages = [digest for title, digest in self.layers.items() if title != "repodata"]
        dnf.add("tools", f"oci://{GONE}/{self.name}:1")
        conf(entry(GONE, "{second}", "{first}"))
        hosts.clear()

    def in_vain(self, name):
        """The requested blobs that a registry did not have."""
        return [path.rsplit("/", 1)[1] for _, path, status in self.hosts[name].requests("/blobs/")
                if status == 404]

    @pytest.mark.parametrize("fetched", ["on-demand", "eager"])
    def test_the_next_place_is_asked(self, dnf, fetched):
        missing = self.packages[3]
        self.hosts["first"].unlink_blob(self.name, missing)
        plugin(fetched, "private")
        result = fetch(dnf)
        assert self.in_vain("first") == [missing]
        assert missing in self.hosts["second"].blobs()
        assert set(self.hosts["first"].blobs() + self.hosts["second"].blobs()) == set(
            self.layers.values())
        [line] = [line for line in result.output.splitlines() if "blob unavailable where" in line]
        assert missing in line and f"localhost:5001/{self.name}" in line, line
        assert f"localhost:5002/{self.name}" in line, line
        assert len(list(dnf.cache("tools").glob("packages/*"))) == self.PACKAGES

    @pytest.mark.parametrize("file", [MAIN, DROP_INS / "1.conf", HOME / "registries.conf"])
    @pytest.mark.parametrize("prefix", ["host", "repository"])
    def test_wherever_the_entry_is(self, dnf, file, prefix):
        (DROP_INS / "50-test.conf").unlink()
        below = "" if prefix == "host" else f"/{self.name}"
        self.conf(entry(GONE + below, "{second}" + below, "{first}" + below), file)
        self.hosts["first"].unlink_blob(self.name, self.layers["repodata"])
        dnf("repoquery").has("p0-0:1-1.noarch")
        assert self.in_vain("first") == [self.layers["repodata"]]
        assert self.hosts["second"].blobs() == [self.layers["repodata"]]

    def test_it_is_remembered_until_the_configuration_changes(self, dnf):
        for digest in self.layers.values():
            self.hosts["first"].unlink_blob(self.name, digest)
        plugin("eager")
        fetch(dnf)
        # Parallel requests are sent before the first answer.
        assert self.in_vain("first") == [self.layers["repodata"]]
        assert len(self.hosts["second"].blobs()) == len(self.layers)
        self.conf(entry(GONE, "{second}", "{first}") + "# changed\n")
        dnf("clean", "all")
        for layer in UNPACKED.glob("*/sha256-*"):
            shutil.rmtree(layer)
        self.hosts.clear()
        dnf("repoquery").has("p0-0:1-1.noarch")
        assert self.in_vain("first") == [self.layers["repodata"]]

    def test_each_place_has_what_another_lacks(self, dnf):
        self.hosts["first"].unlink_blob(self.name, self.layers["repodata"])
        for digest in self.packages[:4]:
            self.hosts["second"].unlink_blob(self.name, digest)
        plugin("eager")
        fetch(dnf)
        assert set(self.hosts["second"].blobs()).isdisjoint(self.packages[:4])
        assert set(self.hosts["first"].blobs()) >= set(self.packages[:4])
        assert len(list(dnf.cache("tools").glob("packages/*"))) == self.PACKAGES

    def test_dead_and_empty_places_are_passed_over_too(self, dnf):
        self.conf(entry(GONE, "{second}", "{dead}", "{empty}", "{first}", "{dead}", "{empty}"))
        self.hosts["first"].unlink_blob(self.name, self.layers["repodata"])
        dnf("repoquery").has("p0-0:1-1.noarch")
        assert self.hosts["second"].blobs() == [self.layers["repodata"]]

    def test_what_limits_the_places_is_kept(self, dnf):
        # A mirror for digests only and a blocked one are not asked, and no other has the blob.
        self.conf(entry(GONE, "{empty}", "{first}", f"{{second}}; {DIGEST_ONLY}"))
        self.hosts["first"].unlink_blob(self.name, self.layers["repodata"])
        dnf("repoquery", code=1).has("blob unknown to registry")
        assert self.hosts["second"].requests() == []
        self.conf(entry(GONE, "{empty}", "{first}", "{second}")
                  + entry("{second}", "{second}", options=BLOCKED))
        dnf("repoquery", code=1).has("blob unknown to registry")
        assert self.hosts["second"].requests() == []

    def test_a_blob_that_is_nowhere(self, dnf):
        for name in ("first", "second"):
            self.hosts[name].unlink_blob(self.name, self.layers["repodata"])
        result = dnf("repoquery", code=1).has("blob unknown to registry")
        result.has_not("no other pull source").has_not("(Mirrors also failed")
        for name in ("first", "second"):
            # dnf5 asks four times.
            assert self.in_vain(name) == [self.layers["repodata"]] * 4

    @pytest.mark.parametrize("fetched", ["on-demand", "eager"])
    @pytest.mark.parametrize("wrong", ["metadata", "package"])
    def test_wrong_bytes_from_a_mirror(self, dnf, request, wrong, fetched):
        digest = self.layers["repodata"] if wrong == "metadata" else self.packages[3]
        self.hosts["first"].corrupt_blob(digest)
        # Other repositories have the same packages; twice corrupted is right.
        request.addfinalizer(lambda: self.hosts["first"].corrupt_blob(digest))
        plugin(fetched)
        fetch(dnf)
        assert self.hosts["first"].blobs().count(digest) == 1
        assert digest in self.hosts["second"].blobs()
        assert len(list(dnf.cache("tools").glob("packages/*"))) == self.PACKAGES

    def test_wrong_bytes_everywhere(self, dnf):
        for name in ("first", "second"):
            self.hosts[name].corrupt_blob(self.layers["repodata"])
        dnf("repoquery", code=1).tells(f"checksum mismatch: expected {self.layers['repodata']}")
        served = {name: self.hosts[name].blobs().count(self.layers["repodata"]) for name in ("first", "second")}
        assert served == {"first": 1, "second": 3}


@pytest.fixture(scope="module")
def cache(hosts, tmp_path_factory):
    """A pull-through cache of the first one."""
    running = Registry(tmp_path_factory.mktemp("cache"), 5004, cache_of=hosts["first"]).start()
    yield running
    running.stop()


class TestPullThroughCache:
    """A cache may not have a blob until its manifest has been requested, so that comes first."""

    @pytest.fixture(params=["mirror", "registry"])
    def tools(self, hosts, dnf, conf, cache, request):
        """A repository whose tag moves after dnf5 has cached its metadata."""
        reference = f"acme/{dnf.name}:1"
        repository = dnf.repository().add(build("old")).createrepo()
        repository.push(f"{hosts['first'].address}/{reference}")
        if request.param == "mirror":
            conf(entry(GONE, "{first}", cache.address))
        else:
            insecure(cache.address)
        dnf.add("tools", f"oci://{GONE if request.param == 'mirror' else cache.address}/{reference}",
                metadata_expire="never")
        hosts.clear()
        cache.clear()
        return f"{hosts['first'].address}/{reference}"

    @pytest.mark.parametrize("fetched", ["on-demand", "eager"])
    def test_all_comes_through_it(self, hosts, dnf, cache, tools, fetched):
        plugin(fetched)
        package = "sha256:" + hashlib.sha256(build("old").read_bytes()).hexdigest()
        for _ in range(2):
            dnf("clean", "all")
            hosts.clear()
            cache.clear()
            fetch(dnf, "old")
            assert (dnf.cache("tools") / "packages/old-1-1.noarch.rpm").exists()
            manifest_first(cache)
            assert package in cache.blobs()
            wait_until(lambda: all(cache.blob(digest).exists() for digest in cache.blobs()),
                  "the cache has stored them")
        assert hosts["first"].blobs() == [], "the second time"

    def test_a_new_process_for_an_old_snapshot(self, dnf, cache, tools):
        plugin("eager")
        dnf("repoquery").has("old-0:1-1.noarch")
        dnf.repository("moved").add(build("new")).createrepo().push(tools)
        for service in processes(*SERVICE):
            os.kill(service, signal.SIGKILL)
        wait_until(lambda: not is_on_the_bus(), "the bus starts a new one")
        cache.clear()
        fetch(dnf, "old")
        assert (dnf.cache("tools") / "packages/old-1-1.noarch.rpm").exists()
        manifest_first(cache)


def manifest_first(cache):
    """Asserts that a manifest is requested before any blob."""
    assert cache.blobs()
    first = next(path for _, path, _ in cache.requests() if path != "/v2/")
    assert "/manifests/" in first, cache.requests()
