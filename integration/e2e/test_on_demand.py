"""Content is fetched when dnf5 requests it."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from conftest import PRIVATE
from harness.commands import processes, run
from harness.repository import build

SOCKETS = Path("/run/dnf5-oci")

PLAIN = {"PATH": "/usr/bin:/usr/sbin"}


@pytest.fixture
def tools(dnf, registry):
    """A repository with one package, which no command has needed yet."""
    dnf.repository().add(build("one")).createrepo().push(dnf.reference(registry))
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    registry.clear()


def test_download_and_reposync(dnf, registry, tools, tmp_path, fetch):
    dnf("download", "one", f"--destdir={tmp_path / 'downloaded'}")
    assert len(list((tmp_path / "downloaded").glob("*.rpm"))) == 1
    assert len(registry.blobs()) == 2, "the metadata and the package"
    dnf("reposync", "--repoid=tools", "--download-metadata", f"--download-path={tmp_path}")
    assert (tmp_path / "tools/repodata/repomd.xml").exists()
    run("dnf5", f"--repofrompath=copy,{tmp_path / 'tools'}", "--repo=copy", "repoquery").has("one-0:1")


def test_commands_that_need_nothing_ask_nobody(dnf, registry, tools, fetch):
    for command in (["list", "--installed"], ["repo", "list"], ["history", "list"]):
        dnf(*command, code=None).has_not("dnf5-oci.alt")
    # The plugin cannot know whether a command will load repositories, so each gets the head start.
    assert len(registry.manifests()) == (1 if fetch == "eager" else 0)
    assert len(registry.blobs()) == (1 if fetch == "eager" else 0), "the metadata"


def test_a_failure_is_one_clear_line(dnf, registry, fetch):
    missing = dnf.reference(registry, "missing")
    dnf.add("tools", f"oci://{missing}")
    registry.clear()
    result = dnf("repoquery", code=1).has_not("Cache-only")
    line = f"repository tools oci://{missing}: "
    result.has(line).has("check the reference's spelling and tag")
    assert result.output.count(line) == 1, result
    # librepo tries four times, as at a web server; a head start asks once.
    assert len(registry.manifests()) == (5 if fetch == "eager" else 4)
    skipped = dnf("--setopt=tools.skip_if_unavailable=1", "repoquery")
    assert skipped.output.count(line) == 1, skipped
    failed = dnf.failed_head_starts()
    assert len(failed) == (2 if fetch == "eager" else 0)
    assert all(text.startswith(line) for text in failed), failed


@pytest.mark.parametrize("variable", ["no_proxy", "NO_PROXY"])
@pytest.mark.parametrize("value", ["localhost", ".localhost,127.0.0.1,::1"], ids=["one", "more"])
def test_what_is_reached_without_a_proxy_does_not_matter(dnf, registry, tools, variable, value):
    dnf("repoquery", env=PLAIN | {variable: value}).has("one-0:1-1.noarch")
    assert registry.manifests()


def test_no_proxy_at_all(dnf, registry, tools, fetch):
    result = dnf("repoquery", env=PLAIN | {"no_proxy": "*"}, code=1)
    line = "dnf5-oci: connection to the service failed: no_proxy=* disables all proxies"
    result.has(line).has("; unset no_proxy")
    assert result.output.count(line) == 1, result
    dnf("list", "--installed", env=PLAIN | {"no_proxy": "*"})
    assert registry.requests() == []


@pytest.mark.parametrize("backend", ["system", "private"])
def test_the_service_ends_while_the_user_thinks(dnf, tools, backend):
    dnf.backend(backend)
    asking = subprocess.Popen(["dnf5", "install", "one"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    serving = PRIVATE if backend == "private" else ("dnf5-oci", "serve")
    output = ""
    while not output.endswith("[y/N]: "):
        output += asking.stdout.read(1)
    for process in processes(*serving):
        os.kill(process, signal.SIGKILL)
    output, _ = asking.communicate("y\n", timeout=60)
    assert asking.returncode == 1, output
    line = output.splitlines()[-1]
    assert line.startswith("the dnf5-oci service ") and " again" in line, output
    # A killed instance leaves its socket behind.
    for left in SOCKETS.glob("dnf5-oci-*"):
        shutil.rmtree(left)


def test_nobody_else_reaches_the_socket(dnf, registry, tools):
    dnf("repoquery")
    assert SOCKETS.stat().st_mode & 0o777 == 0o700
    [directory] = [path for path in SOCKETS.iterdir() if path.is_dir()]
    socket = directory / "gateway"
    assert directory.stat().st_mode & 0o077 == 0
    assert socket.stat().st_mode & 0o077 == 0
    # A session that has ended is no longer served.
    run("curl", "-sS", f"--proxy=socks5h://1.0:-@localhost{socket}", "http://dnf5-oci.alt/", code=97)


def test_what_suits_a_registry_is_set_unless_the_user_has_set_it(dnf, tools):
    configured = dnf("--dump-repo-config=tools", "repo", "list")
    configured.has("max_parallel_downloads = 20").has("max_downloads_per_mirror = 20").has("timeout = 3600")
    dnf.add("tools", "oci://localhost/x", timeout=20, max_parallel_downloads=2)
    configured = dnf("--dump-repo-config=tools", "repo", "list")
    # The service applies the user's timeout to the registry.
    configured.has("max_parallel_downloads = 2").has("timeout = 3600").has("minrate = 1\n")


@pytest.mark.parametrize("option", ["max_parallel_downloads", "max_downloads_per_mirror"])
def test_parallel_downloads_that_the_user_has_set_for_all_repositories(dnf, tools, option):
    configured = Path("/etc/dnf/dnf.conf")
    before = configured.read_text()
    configured.write_text(f"{before}{option}=3\n")
    try:
        dnf("--dump-repo-config=tools", "repo", "list").has(f"{option} = 3")
        dnf(f"--setopt={option}=4", "--dump-repo-config=tools", "repo", "list").has(f"{option} = 4")
    finally:
        configured.write_text(before)
