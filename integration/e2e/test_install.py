"""dnf5 installs from a registry, and asks it no more than it must."""

from pathlib import Path

import pytest

from harness.commands import processes, run
from harness.repository import build
from harness.service import SERVE, end_services

pytestmark = pytest.mark.usefixtures("eager")

@pytest.mark.parametrize("backend", ["system", "private"])
def test_install(dnf, registry, installed, backend):
    name = f"hello-{backend}"
    dnf.repository().add(build(name)).describe().push(dnf.reference(registry))
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    dnf.backend(backend)
    end_services()
    installed.append(name)
    result = dnf("-y", "install", name)
    result.has("Already downloaded").has("Complete!")
    assert Path(f"/usr/share/{name}/file").read_text() == f"{name} 1\n"
    assert "repodata/repomd.xml" in dnf.cached("tools")
    dnf.is_whole("tools")
    assert bool(processes(*SERVE)) == (backend == "system"), "a private instance ends with dnf5"


def test_root_uses_the_system_service_by_itself(dnf, registry):
    dnf.repository().add(build("one")).describe().push(dnf.reference(registry))
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    end_services()
    dnf("repoquery").has("one-0:1-1.noarch")
    assert processes(*SERVE), "the bus has started it"


def test_without_a_bus_there_is_a_private_instance(dnf, registry):
    dnf.repository().add(build("one")).describe().push(dnf.reference(registry))
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    nowhere = {"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nonexistent", "PATH": "/usr/bin:/usr/sbin"}
    dnf("repoquery", env=nowhere).has("one-0:1-1.noarch")
    dnf.backend("system")
    dnf("--refresh", "repoquery", env=nowhere).has("dnf5-oci cannot be reached")


def test_another_user_has_an_instance_and_a_cache_of_its_own(dnf, registry):
    dnf.repository().add(build("one")).describe().push(dnf.reference(registry))
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    home = Path("/tmp/home-of-nobody")
    home.mkdir(exist_ok=True)
    run("chown", "nobody", home)
    result = run("setpriv", "--reuid=nobody", "--clear-groups", "env", f"HOME={home}",
                 "dnf5", "repoquery")
    result.has("one-0:1-1.noarch")
    assert list(home.glob(".cache/libdnf5/tools-*/repodata/repomd.xml"))


def test_fresh_metadata_cost_no_request(dnf, registry):
    dnf.repository().add(build("one")).describe().push(dnf.reference(registry))
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    dnf("repoquery").has("one-0:1-1.noarch")
    registry.clear()
    dnf("repoquery").has("one-0:1-1.noarch")
    assert registry.requests() == []


def test_refresh_costs_one_manifest(dnf, registry):
    dnf.repository().add(build("one")).describe().push(dnf.reference(registry))
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    dnf("repoquery")
    registry.clear()
    dnf("--refresh", "repoquery").has("one-0:1-1.noarch")
    assert len(registry.manifests()) == 1
    assert registry.blobs() == []
    assert "attrs/expired" not in dnf.cached("tools")
    registry.clear()
    dnf("repoquery")
    assert registry.requests() == []


def test_a_moved_tag_brings_new_metadata(dnf, registry):
    repository = dnf.repository().add(build("one")).describe()
    repository.push(dnf.reference(registry))
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    dnf("repoquery").has_not("two-0:1-1.noarch")
    repository.add(build("two")).describe().push(dnf.reference(registry))
    dnf("repoquery").has_not("two-0:1-1.noarch")
    dnf("--refresh", "repoquery").has("one-0:1-1.noarch").has("two-0:1-1.noarch")
    dnf.is_whole("tools")


def test_a_manifest_that_only_adds_packages_leaves_the_metadata(dnf, registry):
    repository = dnf.repository().add(build("one")).describe()
    repository.push(dnf.reference(registry))
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    dnf("repoquery")
    # Metadata pushed anew file by file are the same blobs; only the manifest is another.
    repository.push_files(dnf.reference(registry, "files"))
    dnf.add("tools", f"oci://{dnf.reference(registry, 'files')}")
    dnf("repoquery")
    repository.push_files(dnf.reference(registry, "files"), options=["--annotation", "a=b"])
    registry.clear()
    dnf("--refresh", "repoquery").has("one-0:1-1.noarch")
    assert len(registry.manifests()) == 1
    assert registry.blobs() == []


def test_a_pinned_digest_is_never_asked_for_again(dnf, registry):
    repository = dnf.repository().add(build("one")).describe()
    digest = repository.push(dnf.reference(registry))
    name = dnf.reference(registry).rsplit(":", 1)[0]
    dnf.add("tools", f"oci://{name}@{digest}")
    dnf("repoquery")
    repository.add(build("two")).describe().push(dnf.reference(registry))
    registry.clear()
    dnf("--refresh", "repoquery").has("one-0:1-1.noarch").has_not("two-0:1-1.noarch")
    assert registry.requests() == []


def test_assumeno_fetches_no_package(dnf, registry):
    dnf.repository().add(build("one")).describe().push(dnf.reference(registry))
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    dnf("--assumeno", "install", "one", code=1)
    assert not [name for name in dnf.cached("tools") if name.startswith("packages/")]


def test_cacheonly_asks_nobody(dnf, registry):
    dnf.repository().add(build("one")).describe().push(dnf.reference(registry))
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    dnf("repoquery")
    registry.clear()
    dnf("-C", "--refresh", "repoquery", code=None)
    dnf("-C", "repoquery").has("one-0:1-1.noarch")
    assert registry.requests() == []


def test_inspect_by_busctl(dnf, registry):
    digest = dnf.repository().add(build("one")).describe().push(dnf.reference(registry))
    call = ("busctl", "call", "io.github.dnf5_oci", "/io/github/dnf5_oci",
            "io.github.dnf5_oci.Backend1", "Inspect", "sa{sv}")
    result = run(*call, f"oci://{dnf.reference(registry)}", "0")
    result.has(digest).has('"one-1-1.noarch.rpm"').has('"layout" s "archive"')
    run(*call, "oci://acme", "0", code=1).has("a registry host and a path are required")
    run("setpriv", "--reuid=nobody", "--clear-groups", *call, "oci://localhost/x", "0", code=1)
    run("setpriv", "--reuid=nobody", "--clear-groups", "busctl", "introspect", *call[2:4]).has(
        ".PrefetchRepodata"
    )
