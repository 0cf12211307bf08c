"""Other roots, cache directories and architectures, and repositories without a .repo file."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from conftest import CACHE, NO_BUS, PRIVATE, REPOS
from harness.commands import processes, run, wait_until
from harness.repository import build


@pytest.fixture
def url(dnf, registry):
    """A repository with the packages one and two, without a .repo file."""
    dnf.repository().add(build("one")).add(build("two")).createrepo().push(dnf.reference(registry))
    registry.clear()
    return f"oci://{dnf.reference(registry)}"


def assert_is_installed(root):
    assert (root / "usr/share/one/file").read_text() == "one 1\n"


@pytest.mark.parametrize("bus", ["bus", "no-bus"])
def test_a_fresh_root_with_the_hosts_configuration(dnf, registry, url, tmp_path, bus):
    dnf.add("tools", url)
    root = tmp_path / "root"
    environment = {} if bus == "bus" else {"env": NO_BUS}
    dnf("--installroot", root, "--use-host-config", "-y", "install", "one", **environment).has("Complete!")
    assert_is_installed(root)
    assert list(root.glob(f"{str(CACHE)[1:]}/tools-*/repodata/repomd.xml"))
    assert not list(CACHE.glob("tools-*")), "nothing in the host's cache"
    assert len(registry.manifests()) == 1 and len(registry.blobs()) == 2
    assert not processes(*PRIVATE)


def test_a_fresh_root_with_its_own_configuration(dnf, registry, url, tmp_path):
    root = tmp_path / "root"
    (root / "etc/yum.repos.d").mkdir(parents=True)
    (root / "etc/yum.repos.d/own.repo").write_text(f"[own]\nname=own\nbaseurl={url}\ngpgcheck=0\n")
    dnf("--installroot", root, "-y", "install", "one").has(" own ").has("Complete!")
    assert_is_installed(root)
    assert len(registry.blobs()) == 2


def test_in_a_chroot_the_bus_of_the_host_is_not_used(dnf, url, chroot):
    dnf.add("tools", url)
    asking = subprocess.Popen(["chroot", chroot, "dnf5", "install", "one"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        # dnf5 waits for the answer, and its instance with it.
        [private] = wait_until(lambda: processes(*PRIVATE), "it is served")
        assert os.readlink(f"/proc/{private}/root") == str(chroot)
    finally:
        output, _ = asking.communicate("n\n", timeout=60)
    assert "one" in output
    assert list(Path(f"{chroot}{CACHE}").glob("tools-*/repodata/repomd.xml"))
    assert not list(CACHE.glob("tools-*")), "nothing in the host's cache"
    wait_until(lambda: not processes(*PRIVATE), "no instance is left")


def test_without_a_bus(dnf, registry, url, installed):
    installed.append("one")
    dnf.add("tools", url)
    dnf("-y", "install", "one", env=NO_BUS).has("Complete!").has_not("connection to the service failed")
    assert Path("/usr/share/one/file").read_text() == "one 1\n"
    assert len(registry.manifests()) == 1 and len(registry.blobs()) == 2
    assert not processes(*PRIVATE)


def test_another_cachedir(dnf, registry, url, tmp_path):
    dnf.add("tools", url)
    option = f"--setopt=cachedir={tmp_path}/cache"
    dnf(option, "download", "one", f"--destdir={tmp_path}")
    assert (tmp_path / "one-1-1.noarch.rpm").exists()
    assert list(tmp_path.glob("cache/tools-*/repodata/repomd.xml"))
    assert not list(CACHE.glob("tools-*"))
    registry.clear()
    dnf(option, "repoquery").has("one-0:1-1.noarch")
    assert registry.requests() == []


def test_a_repository_from_the_command_line(dnf, url, tmp_path):
    dnf(f"--repofrompath=x,{url}", "--repo=x", "repoquery").has("one-0:1-1.noarch")
    dnf(f"--repofrompath=x,{url}", "download", "one", f"--destdir={tmp_path}")
    assert (tmp_path / "one-1-1.noarch.rpm").exists()
    file = tmp_path / "repos"
    file.mkdir()
    (file / "y.repo").write_text(f"[y]\nname=y\nbaseurl={url}\n")
    dnf(f"--setopt=reposdir={file}", "--repo=y", "repoquery").has("two-0:1-1.noarch")


def test_config_manager(dnf, registry, url, installed):
    installed.append("one")
    dnf("config-manager", "addrepo", "--id=added", f"--set=baseurl={url}")
    assert url in (REPOS / "added.repo").read_text()
    dnf("-y", "install", "one").has(" added ").has("Complete!")
    dnf("config-manager", "setopt", "--create-missing-dir", "added.enabled=0")
    registry.clear()
    dnf("repoquery").has_not("two-0:1")
    assert registry.requests() == []
    elsewhere = f"oci://{dnf.reference(registry, 'elsewhere')}"
    dnf("config-manager", "setopt", "added.enabled=1", f"added.baseurl={elsewhere}")
    dnf("repoquery", code=1).has(f"repository added {elsewhere}: ")
    dnf("config-manager", "unsetopt", "added.baseurl")
    dnf("repoquery").has("two-0:1-1.noarch")


@pytest.fixture
def index(dnf, registry):
    """An image index with a different package for each architecture."""
    for arch, rpm_arch in (("amd64", "x86_64"), ("arm64", "aarch64")):
        repository = dnf.repository(arch).add(build(f"for-{arch}", arch=rpm_arch)).createrepo()
        config = dnf.tmp_path / f"{arch}.json"
        config.write_text(json.dumps({"architecture": arch, "os": "linux"}))
        repository.push(dnf.reference(registry, arch), options=[
            "--config", f"../{config.name}:application/vnd.oci.image.config.v1+json",
            "--disable-path-validation",
        ])
    run("oras", "manifest", "index", "create", "--plain-http", dnf.reference(registry), "amd64", "arm64")
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    registry.clear()


OWN, FOREIGN = "for-amd64-0:1-1.x86_64", "for-arm64-0:1-1.aarch64"


def test_a_foreign_architecture(dnf, registry, index, tmp_path, fetch):
    # Within metadata_expire, neither architecture may get the other's cached metadata.
    for _ in range(2):
        dnf("repoquery").has(OWN).has_not(FOREIGN)
        dnf("--forcearch=aarch64", "repoquery").has(FOREIGN).has_not(OWN)
    assert len(list(CACHE.glob("tools-*"))) == 2
    registry.clear()
    dnf("repoquery").has(OWN)
    dnf("--forcearch=aarch64", "repoquery").has(FOREIGN)
    dnf("--forcearch=x86_64", "repoquery").has(OWN)
    assert registry.requests() == [], "each has its own cache"
    dnf("--forcearch=aarch64", "download", "for-arm64", f"--destdir={tmp_path}")
    assert (tmp_path / "for-arm64-1-1.aarch64.rpm").exists()


def test_a_foreign_architecture_in_another_root(dnf, registry, index, tmp_path):
    root = tmp_path / "root"
    dnf("--installroot", root, "--use-host-config", "--forcearch=aarch64", "-y", "install", "for-arm64",
        "--setopt=tsflags=noscripts").has("Complete!")
    assert (root / "usr/share/for-arm64/file").read_text() == "for-arm64 1\n"


def test_an_interrupt_is_not_the_instances(dnf, url):
    """A program may handle Ctrl-C and continue."""
    dnf.add("tools", url)
    dnf.backend("private")
    dnf("repoquery")
    asking = subprocess.Popen(
        ["setsid", "--wait", "dnf5", "install", "one"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        # A program with its own signal handling.
        preexec_fn=lambda: (signal.signal(signal.SIGINT, signal.SIG_IGN),
                            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])),
    )
    try:
        [instance] = wait_until(lambda: processes(*PRIVATE), "it is served")
        dnf5 = int(Path(f"/proc/{instance}/stat").read_text().rsplit(")", 1)[1].split()[1])
        assert os.getpgid(instance) != os.getpgid(dnf5)
        status = Path(f"/proc/{instance}/status").read_text()
        masks = {line.split(":")[0]: int(line.split()[1], 16) for line in status.splitlines()
                 if line.startswith(("SigBlk", "SigIgn"))}
        assert masks["SigBlk"] == 0
        assert not masks["SigIgn"] & 1 << signal.SIGINT - 1
    finally:
        asking.communicate("n\n", timeout=60)
    wait_until(lambda: not processes(*PRIVATE), "it ends with dnf5")
