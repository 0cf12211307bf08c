"""dnf5 installs from a registry, with as few requests as possible."""

from pathlib import Path

import pytest

from conftest import NO_BUS
from harness.commands import processes, run
from harness.repository import build
from harness.service import SERVE, stop_services

pytestmark = pytest.mark.usefixtures("fetch")


@pytest.fixture
def pushed(dnf, registry):
    """A repository with the package "one", which no command has needed yet."""
    repository = dnf.repository().add(build("one")).createrepo()
    repository.push(dnf.reference(registry))
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    registry.clear()
    return repository


@pytest.mark.parametrize("backend", ["system", "private"])
def test_install(dnf, registry, pushed, installed, backend, fetch):
    dnf.backend(backend)
    stop_services()
    installed.append("one")
    result = dnf("-y", "install", "one").has("Complete!").has_not("dnf5-oci.alt")
    assert ("Already downloaded" in result.output) == (fetch == "eager"), result
    assert Path("/usr/share/one/file").read_text() == "one 1\n"
    assert "repodata/repomd.xml" in dnf.cached("tools")
    dnf.is_whole("tools")
    assert bool(processes(*SERVE)) == (backend == "system"), "a private instance ends with dnf5"
    assert len(registry.manifests()) == 1
    assert len(registry.blobs()) == 2, "the metadata and the package"


def test_root_uses_the_system_service_by_itself(dnf, pushed):
    stop_services()
    dnf("repoquery").has("one-0:1-1.noarch")
    assert processes(*SERVE), "the bus starts it"


def test_without_a_bus_there_is_a_private_instance(dnf, pushed):
    dnf("repoquery", env=NO_BUS).has("one-0:1-1.noarch")
    dnf.backend("system")
    result = dnf("repoquery", env=NO_BUS, code=1)
    line = "dnf5-oci: connection to the service failed: "
    result.has(line).has('; check "backend" and "service" in oci.conf')
    assert result.output.count(line) == 1, result
    assert result.output.startswith("Updating and loading repositories:\n"), result


def test_another_user_has_an_instance_and_a_cache_of_its_own(dnf, pushed):
    home = Path("/tmp/home-of-nobody")
    home.mkdir(exist_ok=True)
    run("chown", "nobody", home)
    result = run("setpriv", "--reuid=nobody", "--clear-groups", "env", f"HOME={home}",
                 "dnf5", "repoquery")
    result.has("one-0:1-1.noarch")
    assert list(home.glob(".cache/libdnf5/tools-*/repodata/repomd.xml"))


def test_fresh_metadata_cost_no_request(dnf, registry, pushed):
    dnf("repoquery").has("one-0:1-1.noarch")
    registry.clear()
    dnf("repoquery").has("one-0:1-1.noarch")
    assert registry.requests() == []


def test_refresh_costs_one_manifest(dnf, registry, pushed):
    dnf("repoquery")
    registry.clear()
    dnf("--refresh", "repoquery").has("one-0:1-1.noarch")
    assert len(registry.manifests()) == 1
    assert registry.blobs() == [], "the layer is unpacked, or known by its digest"
    assert "attrs/expired" not in dnf.cached("tools")
    registry.clear()
    dnf("repoquery")
    assert registry.requests() == []


def test_expired_metadata_cost_one_manifest(dnf, registry, pushed):
    dnf.add("tools", f"oci://{dnf.reference(registry)}", metadata_expire=0)
    dnf("repoquery")
    registry.clear()
    dnf("repoquery").has("one-0:1-1.noarch")
    assert len(registry.manifests()) == 1, "dnf5 does not ask again after a head start"
    assert registry.blobs() == []


def test_a_moved_tag_brings_new_metadata(dnf, registry, pushed):
    dnf("repoquery").has_not("two-0:1-1.noarch")
    pushed.add(build("two")).createrepo().push(dnf.reference(registry))
    dnf("repoquery").has_not("two-0:1-1.noarch")
    registry.clear()
    dnf("--refresh", "repoquery").has("two-0:1-1.noarch")
    assert len(registry.manifests()) == 1
    assert len(registry.blobs()) == 1, "the metadata"


def test_a_manifest_that_only_adds_packages_leaves_the_metadata(dnf, registry, pushed, fetch):
    # Pushed again file by file, the metadata is the same blobs; only the manifest is another.
    pushed.push_files(dnf.reference(registry, "files"))
    dnf.add("tools", f"oci://{dnf.reference(registry, 'files')}")
    dnf("repoquery")
    pushed.push_files(dnf.reference(registry, "files"), options=["--annotation", "a=b"])
    registry.clear()
    dnf("--refresh", "repoquery").has("one-0:1-1.noarch")
    assert len(registry.manifests()) == 1
    # dnf5 has to read repomd.xml; the service knows the blobs of the metadata.
    assert len(registry.blobs()) == (0 if fetch == "eager" else 1)


def test_a_pinned_digest_is_never_asked_for_again(dnf, registry, fetch):
    repository = dnf.repository().add(build("one")).createrepo()
    digest = repository.push(dnf.reference(registry))
    name = dnf.reference(registry).rsplit(":", 1)[0]
    dnf.add("tools", f"oci://{name}@{digest}")
    dnf("repoquery")
    repository.add(build("two")).createrepo().push(dnf.reference(registry))
    registry.clear()
    dnf("--refresh", "repoquery").has("one-0:1-1.noarch").has_not("two-0:1-1.noarch")
    assert registry.blobs() == []
    # dnf5 asks again for repomd.xml, and a session asks for its manifest.
    assert len(registry.manifests()) == (0 if fetch == "eager" else 1)


def test_assumeno_fetches_no_package(dnf, registry, pushed):
    dnf("--assumeno", "install", "one", code=1).has("Need to download")
    assert not [name for name in dnf.cached("tools") if name.startswith("packages/")]
    assert len(registry.blobs()) == 1, "the metadata"


def test_cacheonly_asks_nobody(dnf, registry, pushed):
    dnf("repoquery")
    registry.clear()
    dnf("-C", "--refresh", "repoquery", code=None)
    dnf("-C", "repoquery").has("one-0:1-1.noarch")
    dnf("-C", "-y", "install", "one", code=1).has("cacheonly option is activated")
    assert registry.requests() == []


def test_cached_metadata_alone_still_leave_the_packages(dnf, registry, pushed):
    dnf("repoquery")
    registry.clear()
    dnf("--setopt=cacheonly=metadata", "--refresh", "-y", "install", "--downloadonly", "one").has("Complete!")
    assert len(registry.blobs()) == 1, "the package"


def test_destdir(dnf, registry, pushed, tmp_path):
    dnf("-y", f"--setopt=destdir={tmp_path}", "install", "--downloadonly", "one").has("Complete!")
    assert [file.name for file in tmp_path.glob("*.rpm")] == ["one-1-1.noarch.rpm"]
    assert not [name for name in dnf.cached("tools") if name.startswith("packages/")]
    assert len(registry.blobs()) == 2, "the metadata, and the package once"
