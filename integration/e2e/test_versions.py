"""A libdnf5 that the plugin does not support: one line in the log, and dnf5 goes on without it."""

import re
from pathlib import Path

import pytest

from conftest import LOG
from harness.commands import run
from harness.repository import build

# What the plugin uses of the oldest version that is supported, and the plugin.
SYMBOLS = Path(__file__).parents[1] / "plugin/libdnf5-5.2.17.symbols"
[PLUGIN] = Path("/usr/lib").glob("*/libdnf5/plugins/oci.so")

# Takes the place of libdnf5's own function, by the name that the compiler gives it.
VERSION = """
struct version { unsigned short prime, major, minor, micro; };
struct version _ZN7libdnf519get_library_versionEv(void) { return (struct version){%s}; }
"""
REFUSED = re.compile("oci: repositories in registries are not available: libdnf5 ([0-9.]+) is not supported, only "
                     "5.2.17 and newer, older than 5.5; update libdnf5 or libdnf5-plugin-oci$", re.MULTILINE)


@pytest.fixture
def pretend(tmp_path):
    """Makes an environment in which libdnf5 has another version."""
    def make(version):
        source = tmp_path / "version.c"
        source.write_text(VERSION % version.replace(".", ", "))
        library = tmp_path / "version.so"
        run("gcc", "-shared", "-fPIC", "-o", library, source)
        return {"LD_PRELOAD": str(library), "PATH": "/usr/bin:/usr/sbin"}
    return make


@pytest.fixture
def pushed(dnf, registry, tools):
    dnf.repository().add(build("one")).createrepo().push(tools)


@pytest.mark.parametrize("version", ["5.2.16.0", "5.1.99.9", "4.9.0.0", "5.5.0.0", "5.10.1.0", "6.0.0.0"])
def test_another_version_is_refused(dnf, pushed, pretend, version):
    environment = pretend(version)
    # dnf5 itself works; the repository cannot be reached.
    dnf("list", "--installed", env=environment)
    assert REFUSED.findall(LOG.read_text()) == [version.rpartition(".")[0]]
    dnf("repoquery", env=environment, code=1).has("oci://")
    dnf("--setopt=skip_if_unavailable=1", "repoquery", env=environment)


@pytest.mark.parametrize("version", ["5.2.17.0", "5.2.18.0", "5.3.0.0", "5.4.99.0"])
def test_these_versions_are_supported(dnf, pushed, pretend, version):
    dnf("repoquery", env=pretend(version)).has("one-0:1-1.noarch")
    assert "not available" not in LOG.read_text()


@pytest.mark.parametrize(("version", "mark"), [("5.2.17.0", ""), ("5.3.0.0", ">>> ")])
def test_a_failure_is_shown_whole(dnf, tools, pretend, version, mark):
    """The progress bars of older versions cut lines to the width of the terminal."""
    output = dnf("--setopt=skip_if_unavailable=1", "repoquery", env=pretend(version)).output
    [line] = [line for line in output.splitlines() if "repository tools " in line]
    assert line.startswith(f"{mark}repository tools oci://"), output
    assert line.endswith("and that it was pushed"), output


def test_the_plugin_needs_nothing_that_the_oldest_version_lacks():
    exported = {line for line in SYMBOLS.read_text().splitlines() if line and not line.startswith("#")}
    needed = {line.split()[-1] for line in run("nm", "-D", "--undefined-only", PLUGIN).output.splitlines()}
    used = {name for name in needed if "libdnf5" in name}
    assert used and used <= exported, used - exported
    assert exported <= used, "no longer used"
