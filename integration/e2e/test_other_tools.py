"""The recipes of the guide to other tools, as they stand there. zypper's plugin has its own tests."""

import re
import shutil
from pathlib import Path

import pytest

from conftest import REPOS, insecure
from harness import guide, zypper
from harness.commands import run
from harness.dnf4 import PROGRAM
from harness.programs import SOCKET_UNIT
from harness.registry import Registry
from harness.repository import build
from harness.service import stop_services
from harness.signing import NOTHING, temporary_policy

# DNF 4 without its plugin, in place of microdnf, which is no package here.
PLAIN_DNF = " ".join((*PROGRAM, "--disableplugin=oci"))
PROXY = "Any program with a proxy"
RUN = "Containers and CI"


@pytest.fixture(autouse=True)
def machine(dnf4, installed):
    """Nothing is cached, installed or running."""
    installed.append("hello")
    zypper.clear()
    stop_services()


@pytest.fixture
def reference(dnf, registry):
    dnf.repository().add(build("hello")).createrepo().push(dnf.reference(registry))
    registry.clear()
    return dnf.reference(registry)


@pytest.fixture
def socket():
    """The standing socket, as in the guide."""
    command = next(block for block in guide.blocks(PROXY) if block.startswith("systemctl enable"))
    run("sh", "-c", command)
    yield
    run("systemctl", "disable", "--now", SOCKET_UNIT)


def repo_file(heading, reference, directory=REPOS):
    """Writes the .repo file of a section. Packages of tests are not signed."""
    text = guide.block(heading, "[tools]", reference)
    assert f"# {directory}/tools.repo" in text or directory is not REPOS
    (directory / "tools.repo").write_text(text.replace("gpgcheck=1", "gpgcheck=0"))


def is_installed():
    return Path("/usr/share/hello/file").read_text() == "hello 1\n"


def test_dnf4_with_its_plugin(dnf4, reference):
    repo_file("DNF 4", reference)
    dnf4("-y", "install", "hello").has("Complete!")
    assert is_installed()


def test_dnf4_through_the_socket(socket, registry, reference):
    repo_file(PROXY, reference)
    run("sh", "-c", f"{PLAIN_DNF} -y install hello").has("Complete!")
    assert is_installed()
    assert len(registry.manifests()) == 1, registry.requests()


def test_zypper_through_the_socket(socket, registry, reference):
    repo_file(PROXY, reference, zypper.REPOS)
    zypper.zypper("install", "hello").has("Installing: hello-1-1.noarch")
    assert is_installed()
    assert len(registry.manifests()) == 1, registry.requests()


def curl(reference, *options):
    """The first of the guide's commands with curl."""
    command = next(block for block in guide.blocks(PROXY, reference) if block.startswith("curl"))
    return run("sh", "-c", command.replace("curl", f"curl --silent --show-error {' '.join(options)}", 1)).output


def test_curl(socket, dnf, reference):
    assert curl(reference) == (dnf.tmp_path / "repository/repodata/repomd.xml").read_text()


def test_the_table_of_statuses(socket, dnf, registry, reference, tmp_path):
    """The body is the line of the failure."""
    documented = guide.section("When it fails")
    private = Registry(tmp_path / "private", 5001, users={"user": "a-pass-word"}).start()
    insecure(private.address)
    dnf.repository("other").add(build("hello")).push(dnf.reference(registry, "no-repodata"), "hello-1-1.noarch.rpm")
    cases = {
        f"{private.address}/acme/rpms:stable": 403, f"{registry.address}/acme/Rpms:stable": 404,
        dnf.reference(registry, "none"): 404, dnf.reference(registry, "no-repodata"): 502,
        "localhost:1/acme/rpms:stable": 503,
    }
    for case, expected in cases.items():
        line, _, status = curl(case, "--write-out", "%{http_code}").rpartition("\n")
        assert int(status) == expected, line
        assert f"| {status} |" in documented
        assert line.count("\n") == 0 and line, line
    private.stop()
    with temporary_policy({}, default=NOTHING):
        stop_services()
        assert curl(reference, "--write-out", "%{http_code}").endswith("\n403")


def in_run():
    """The guide's command with "dnf5-oci run", and DNF 4 in place of microdnf."""
    command = next(block for block in guide.blocks(RUN) if block.startswith("dnf5-oci run"))
    return command.replace("microdnf", PLAIN_DNF)


def test_a_command_with_its_own_gateway(registry, reference):
    repo_file(RUN, reference)
    run("sh", "-c", in_run()).has("Complete!")
    assert is_installed()
    assert len(registry.manifests()) == 1, registry.requests()


def test_its_failures_are_printed_at_the_end(dnf, registry, reference):
    repo_file(RUN, dnf.reference(registry, "none"))
    result = run("sh", "-c", in_run(), code=1)
    last = result.output.splitlines()[-1]
    assert re.match(f"error: .*oci://{dnf.reference(registry, 'none')}: .*manifest unknown", last), result


@pytest.mark.parametrize("recipe", ["plugin", "url"])
def test_zypper_with_its_own_gateway(registry, reference, recipe):
    if recipe == "plugin":
        zypper.add(reference)
    else:
        repo_file(RUN, reference, zypper.REPOS)
    run("dnf5-oci", "run", "--", "zypper", "--non-interactive", "install", "hello").has("Installing: hello-1-1.noarch")
    assert is_installed()
    assert len(registry.manifests()) == 1, registry.requests()
    shutil.rmtree(zypper.CACHE)
