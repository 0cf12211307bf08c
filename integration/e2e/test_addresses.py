"""Sources of packages: several repositories, several baseurls, and other hosts."""

import hashlib
from pathlib import Path

import pytest

from conftest import REPOS, insecure
from harness.registry import Registry
from harness.repository import Repository, build

pytestmark = pytest.mark.usefixtures("fetch")


@pytest.fixture(scope="module", autouse=True)
def on_the_web(web):
    """The repository "web", with the package web-one."""
    Repository(web.directory / "web").add(build("web-one")).add(build("both")).createrepo()


@pytest.fixture(scope="module")
def other_registry(tmp_path_factory):
    running = Registry(tmp_path_factory.mktemp("other"), 5001).start()
    insecure(running.address)
    yield running
    running.stop()


def push(dnf, registry, *names, options=()):
    """Pushes a repository with packages of these names; returns its reference."""
    repository = dnf.repository("-".join(names))
    for name in names:
        repository.add(build(name))
    reference = dnf.reference(registry, names[0])
    repository.createrepo(*options).push(reference)
    registry.clear()
    return f"oci://{reference}"


def assert_is_installed(name):
    assert Path(f"/usr/share/{name}/file").read_text() == f"{name} 1\n"


def test_repositories_of_both_kinds_in_one_transaction(dnf, registry, other_registry, web, installed):
    installed.extend(["web-one", "one", "two", "three"])
    dnf.add("web", f"{web.url}/web")
    dnf.add("first", push(dnf, registry, "one"))
    dnf.add("second", push(dnf, registry, "two"))
    dnf.add("third", push(dnf, other_registry, "three"))
    registry.clear()
    dnf("-y", "install", "web-one", "one", "two", "three").has("Complete!")
    for name in ("web-one", "one", "two", "three"):
        assert_is_installed(name)
    # The metadata and the package of each.
    assert len(registry.manifests()) == 2 and len(registry.blobs()) == 4
    assert len(other_registry.manifests()) == 1 and len(other_registry.blobs()) == 2


def test_two_ids_with_one_baseurl(dnf, registry):
    reference = push(dnf, registry, "one")
    dnf.add("a", reference)
    dnf.add("b", reference)
    result = dnf("repoquery", "--queryformat", "%{name} from %{repoid}\n", "one")
    result.has("one from a").has("one from b")
    assert dnf.cache("a").name.rsplit("-")[1] == dnf.cache("b").name.rsplit("-")[1]
    # Each repository needs its manifest; the layer is unpacked once.
    assert len(registry.manifests()) == 2 and len(registry.blobs()) == 1


def test_a_package_that_two_repositories_have(dnf, registry, web, installed):
    installed.append("both")
    dnf.add("web", f"{web.url}/web")
    dnf.add("tools", push(dnf, registry, "both"), priority=1)
    web.clear()
    dnf("-y", "install", "both").has("Complete!")
    assert not [path for _, path, _ in web.requests() if path.endswith(".rpm")]
    dnf.add("tools", push(dnf, registry, "both-else", "both"), priority=200)
    dnf("-y", "reinstall", "both").has("Complete!")
    assert [path for _, path, _ in web.requests() if path.endswith(".rpm")]


@pytest.mark.parametrize("repo_id", ["a.b", "a:b", "a_b-c", "tools:el10.x86_64"])
def test_ids(dnf, registry, installed, repo_id):
    installed.append("one")
    dnf.name = "ids"
    dnf.add(repo_id, push(dnf, registry, "one"))
    dnf("-y", "install", "one").has(f" {repo_id} ").has("Complete!")
    assert dnf.cached(repo_id)
    missing = dnf.reference(registry, "missing")
    dnf.add(repo_id, f"oci://{missing}")
    dnf("repoquery", code=1).has(f"repository {repo_id} oci://{missing}: ")


def test_what_is_disabled_is_not_looked_at(dnf, registry):
    dnf.add("tools", push(dnf, registry, "one"), enabled=0)
    dnf("repoquery").has_not("one-0:1")
    dnf("repo", "list", "--all").has("tools")
    assert registry.requests() == []
    dnf("--enable-repo=tools", "repoquery").has("one-0:1-1.noarch")
    dnf("--repo=tools", "repoquery").has("one-0:1-1.noarch")
    dnf("--disable-repo=tools", "repoquery").has_not("one-0:1")


ADDRESSES = {
    "oci-oci": ("oci://{registry}/acme/missing:1", "oci"),
    "oci-http": ("oci://{registry}/acme/missing:1", "http"),
    "http-oci": ("{web}/missing", "oci"),
}


@pytest.mark.parametrize("addresses", ADDRESSES)
def test_the_next_address_has_what_the_first_has_not(dnf, registry, web, installed, addresses, fetch):
    installed.append("web-one")
    first, second = ADDRESSES[addresses]
    first = first.format(registry=registry.address, web=web.url)
    good = push(dnf, registry, "web-one", "both") if second == "oci" else f"{web.url}/web"
    dnf.add("tools", f"{first}, {good}")
    registry.clear()
    web.clear()
    result = dnf("-y", "install", "web-one").has("Complete!")
    assert_is_installed("web-one")
    line = f"repository tools {first}: "
    assert (line in result.output) == first.startswith("oci://"), result
    # Only the first baseurl gets a head start.
    assert bool(dnf.failed_head_starts()) == (fetch == "eager" and first.startswith("oci://"))
    fetched = [path for _, path, status in web.requests() if status == 200]
    assert bool(registry.blobs()) == (second == "oci")
    assert bool(fetched) == (second == "http")
    # dnf5 also shows them in this order.
    shown = dnf("download", "--url", "--allmirrors", "web-one").output.split()[-2:]
    assert [url.replace("http://dnf5-oci.alt/", "oci://") for url in shown] == [
        f"{url}/web-one-1-1.noarch.rpm" for url in (first, good)
    ]


def test_the_first_address_is_asked_first(dnf, registry, web, installed):
    installed.append("web-one")
    dnf.add("tools", f"{web.url}/web, {push(dnf, registry, 'web-one', 'both')}")
    dnf("-y", "install", "web-one").has("Complete!")
    assert_is_installed("web-one")
    assert registry.requests() == []


METALINK = """<?xml version="1.0" encoding="utf-8"?>
<metalink version="3.0" xmlns="http://www.metalinker.org/"><files><file name="repomd.xml">
<size>{size}</size><verification><hash type="sha256">{sha256}</hash></verification>
<resources><url protocol="http" type="http">{url}/web/repodata/repomd.xml</url></resources>
</file></files></metalink>
"""


@pytest.mark.parametrize("kind", ["mirrorlist", "metalink"])
def test_a_list_goes_before_baseurl(dnf, registry, web, kind):
    repomd = (web.directory / "web/repodata/repomd.xml").read_bytes()
    (web.directory / "mirrorlist").write_text(f"{web.url}/web\n")
    (web.directory / "metalink").write_text(METALINK.format(
        size=len(repomd), sha256=hashlib.sha256(repomd).hexdigest(), url=web.url))
    reference = push(dnf, registry, "one")
    dnf.add("tools", reference, **{kind: f"{web.url}/{kind}"})
    result = dnf("repoquery").has("web-one-0:1-1.noarch").has_not("\none-0")
    result.has_not("dnf5-oci")
    assert registry.requests() == []


def test_packages_that_lie_on_another_host(dnf, registry, web, installed):
    installed.append("web-one")
    dnf.add("tools", push(dnf, registry, "web-one", options=["--baseurl", f"{web.url}/web"]))
    web.clear()
    dnf("download", "--url", "web-one").has(f"{web.url}/web/web-one-1-1.noarch.rpm")
    dnf("-y", "install", "web-one").has("Complete!")
    assert_is_installed("web-one")
    assert web.requests() == [("GET", "/web/web-one-1-1.noarch.rpm", 200)]
    assert len(registry.blobs()) == 1, "only the metadata"


def test_packages_on_a_host_that_cannot_be_reached(dnf, registry):
    reference = push(dnf, registry, "one", options=["--baseurl", "http://localhost:9/x"])
    dnf.add("tools", reference)
    result = dnf("-y", "install", "one", code=1)
    line = f"repository tools {reference}: connecting to localhost port 9 failed: "
    result.has(line).has("Connection refused")
    assert result.output.count(line) == 1, result


def test_packages_in_another_registry(dnf, registry):
    elsewhere = "oci://localhost:5000/acme/elsewhere:1"
    dnf.add("tools", push(dnf, registry, "one", options=["--baseurl", elsewhere]))
    dnf("-y", "install", "one", code=1).has(f"Unsupported protocol for {elsewhere}/one-1-1.noarch.rpm")


def test_packages_outside_of_the_repository(dnf, registry):
    repository = dnf.repository().add(build("one"), "Packages").createrepo("--location-prefix", "../up")
    reference = dnf.reference(registry)
    repository.push(reference)
    dnf.add("tools", f"oci://{reference}")
    result = dnf("-y", "install", "one", code=1)
    line = f"repository tools oci://{reference}: \"/{registry.address}/acme/up/Packages/one-1-1.noarch.rpm\""
    result.has(line).has("is outside the repository")
    assert result.output.count(line) == 1, result


def test_no_connection_goes_past_the_repositorys_proxy(dnf, registry, web):
    reference = push(dnf, registry, "web-one", options=["--baseurl", f"{web.url}/web"])
    # Go reaches localhost without a proxy.
    dnf.add("tools", reference, proxy="http://localhost:1")
    web.clear()
    result = dnf("-y", "install", "web-one", code=1)
    result.has(f"repository tools {reference}: connecting to localhost port 8080 failed: "
               "the repository's proxy is for its registry only")
    assert web.requests() == []


def test_an_address_that_dnf5_shows_can_be_installed(dnf, registry, web, installed):
    installed.extend(["one", "web-one"])
    dnf.add("tools", push(dnf, registry, "one"))
    dnf.add("web", f"{web.url}/web")
    [shown] = dnf("-q", "download", "--url", "one").output.split()
    assert shown.startswith("http://dnf5-oci.alt/")
    # Others on the same command line are still fetched from where they are, and so are repositories afterwards.
    elsewhere = next(Path(web.directory / "web").glob("both-*.rpm"))
    dnf("-y", "install", shown, f"{web.url}/web/{elsewhere.name}", "web-one").has("Complete!")
    installed.append("both")
    for name in ("one", "both", "web-one"):
        assert_is_installed(name)
    dnf("-y", "remove", "one").has("Complete!")
    (REPOS / "tools.repo").unlink()
    dnf("-y", "install", shown).has("Complete!")
    assert_is_installed("one")
    missing = shown.replace("one-1", "two-1")
    line = f"repository @commandline oci://{dnf.reference(registry, 'one')}: package "
    dnf("-y", "install", missing, code=1).has(line).has("is not in the repository").has_not("terminate")
    invalid = shown.replace("acme", "ACME")
    dnf("-y", "install", invalid, code=1).has("repository @commandline: invalid reference")
