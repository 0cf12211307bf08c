"""Every command of DNF 4 has the same output and effect over oci:// as over http://."""

from pathlib import Path

import pytest

from harness.comparison import Tool, publish
from harness.dnf4 import CACHE, PROGRAM, normalized
from harness.lines import as_text

# DNF's records of packages and groups.
STATE = Path("/var/lib/dnf")

# The installed packages before the commands, and the commands.
CASES = {
    "makecache": ([], [["makecache"], ["makecache"], ["makecache", "--refresh"], ["makecache", "--timer"]]),
    "repoquery": ([], [["repoquery"], ["repoquery", "--requires", "needs"], ["repoquery", "--location", "app"]]),
    "files": ([], [["repoquery", "--list", "app"], ["provides", "/usr/share/app/file"]]),
    "info": ([], [["info", "app"], ["search", "tests"], ["list", "--available"]]),
    "repo": ([], [["repolist"], ["repolist", "--all"]]),
    "install": ([], [["-y", "install", "needs"], ["list", "--installed", "needs*"]]),
    "install-no": ([], [["install", "needs"]]),
    "install-assumeno": ([], [["--assumeno", "install", "needs"]]),
    "install-downloadonly": ([], [["-y", "install", "--downloadonly", "needs"], ["-y", "install", "needs"]]),
    "install-destdir": ([], [["-y", "install", "--downloadonly", "--destdir=.", "needs"]]),
    "install-keepcache": ([], [["-y", "--setopt=keepcache=1", "install", "app"], ["-y", "reinstall", "app"]]),
    "install-unknown": ([], [["-y", "install", "no-such-package"]]),
    "upgrade": (["app-1"], [["check-update"], ["-y", "upgrade", "app"], ["-y", "upgrade"]]),
    "downgrade": (["app-2"], [["-y", "downgrade", "app"]]),
    "distro-sync": (["app-1"], [["-y", "distro-sync"]]),
    "remove": (["app-2"], [["-y", "remove", "app"]]),
    "download": ([], [["download", "app"], ["download", "--resolve", "needs"], ["download", "--url", "app"]]),
    "download-srpm": ([], [["download", "--source", "app"]]),
    "reposync": ([], [["reposync", "--repoid=tools", "--download-metadata", "--newest-only"]]),
    "reposync-urls": ([], [["reposync", "--repoid=tools", "--urls"]]),
    "group": ([], [["group", "list"], ["-y", "group", "install", "tools"]]),
    "advisory": (["app-1"], [["updateinfo", "list"], ["-y", "upgrade", "--security"]]),
    "cacheonly": ([], [["repoquery"], ["-C", "repoquery"], ["-C", "-y", "install", "app"]]),
    "cacheonly-empty": ([], [["-C", "repoquery"]]),
    "clean": ([], [["repoquery"], ["clean", "expire-cache"], ["repoquery"], ["clean", "metadata"], ["repoquery"],
                   ["clean", "all"]]),
    "odd-names": ([], [["-y", "install", "odd+name"], ["download", "tilde"]]),
    "cachedir": ([], [["--setopt=cachedir=/tmp/other-cache", "repoquery"]]),
    "builddep": ([], [["-y", "builddep", "/tmp/source/app.spec"]]),
    "shell": ([], [["-y", "shell", "/tmp/shell"]]),
    "quiet": ([], [["-q", "-y", "install", "needs"]]),
}


DNF4 = Tool(PROGRAM, [CACHE, STATE], normalized)


@pytest.fixture(scope="module")
def urls(web, registry):
    """One repository at two addresses."""
    Path("/tmp/shell").write_text("install app\nrun\nremove app\nrun\ninstall needs\nrun\n")
    return publish(web, registry, "same-4")


@pytest.mark.parametrize("case", CASES)
def test_same(urls, tmp_path, case, dnf4):
    present, commands = CASES[case]
    expected = DNF4.outcome(urls["http"], present, commands, tmp_path / "here")
    # Alternately, because the layout is the service's affair.
    layout = ("dirs", "files")[list(CASES).index(case) % 2]
    found = DNF4.outcome(urls[layout], present, commands, tmp_path / "here")
    for want, have in zip(expected[0], found[0], strict=True):
        assert as_text(*have) == as_text(*want)
    assert found[1:] == expected[1:]
