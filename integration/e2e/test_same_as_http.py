"""Every command has the same output and effect over oci:// as over http://.

The same repository is served by nginx and pushed to the registry. Each case runs its commands with
both, from the same state; dnf5's output must be the same, except for speeds and times.
"""

import re
from pathlib import Path

import pytest

from conftest import CACHE
from harness.comparison import Tool, publish
from harness.lines import as_text, normalize

# dnf5's records of packages and groups.
STATE = Path("/usr/lib/sysimage/libdnf5")

# dnf5's lines about downloads.
DOWNLOADS = re.compile("Need to download|Already downloaded")

# The installed packages before the commands, and the commands.
CASES = {
    "makecache": ([], [["makecache"], ["makecache"], ["makecache", "--refresh"]]),
    "repoquery": ([], [["repoquery"], ["repoquery", "--requires", "needs"]]),
    "location": ([], [["repoquery", "--location", "app"]]),
    "files": ([], [["repoquery", "--list", "app"], ["provides", "/usr/share/app/file"]]),
    "info": ([], [["info", "app"], ["search", "tests"], ["list", "--available"]]),
    "repo": ([], [["repo", "list"], ["repo", "info", "tools"], ["repo", "list", "--all"]]),
    "install": ([], [["-y", "install", "needs"], ["list", "--installed", "needs*"]]),
    "install-no": ([], [["install", "needs"]]),
    "install-assumeno": ([], [["--assumeno", "install", "needs"]]),
    "install-downloadonly": ([], [["-y", "install", "--downloadonly", "needs"],
                                  ["-y", "install", "needs"]]),
    "install-keepcache": ([], [["-y", "--setopt=keepcache=1", "install", "app"],
                               ["-y", "reinstall", "app"]]),
    "install-unknown": ([], [["-y", "install", "no-such-package"]]),
    "upgrade": (["app-1"], [["check-upgrade"], ["-y", "upgrade", "app"], ["-y", "upgrade"]]),
    "downgrade": (["app-2"], [["-y", "downgrade", "app"]]),
    "reinstall": (["app-2"], [["-y", "reinstall", "app"]]),
    "distro-sync": (["app-1"], [["-y", "distro-sync"]]),
    "swap": (["app-2"], [["-y", "swap", "app", "needed"]]),
    "remove": (["app-2"], [["-y", "remove", "app"]]),
    "download": ([], [["download", "app"], ["download", "--resolve", "needs"]]),
    "download-url": ([], [["download", "--url", "app"]]),
    "download-srpm": ([], [["download", "--srpm", "app"]]),
    "reposync": ([], [["reposync", "--repoid=tools", "--download-metadata", "--newest-only"]]),
    "reposync-urls": ([], [["reposync", "--repoid=tools", "--urls"]]),
    "group": ([], [["group", "list"], ["-y", "group", "install", "tools"]]),
    "advisory": (["app-1"], [["advisory", "list"], ["-y", "upgrade", "--security"]]),
    "cacheonly": ([], [["repoquery"], ["-C", "repoquery"],
                       ["--setopt=cacheonly=metadata", "repoquery"]]),
    "cacheonly-empty": ([], [["-C", "repoquery"]]),
    "clean": ([], [["repoquery"], ["clean", "expire-cache"], ["repoquery"], ["clean", "metadata"],
                   ["repoquery"], ["clean", "all"]]),
    "odd-names": ([], [["-y", "install", "odd+name"], ["download", "tilde"]]),
    "cachedir": ([], [["--setopt=cachedir=/tmp/other-cache", "repoquery"]]),
    "changelog": ([], [["changelog", "app"], ["repoclosure"], ["leaves"]]),
    "builddep": ([], [["-y", "builddep", "/tmp/source/app.spec"], ["-y", "builddep", "app"]]),
    "history": ([], [["-y", "install", "app"], ["history", "info", "last"]]),
}


DNF5 = Tool(["dnf5"], [CACHE, STATE], normalize)


@pytest.fixture(scope="module")
def urls(web, registry):
    """One repository at two addresses."""
    return publish(web, registry, "same")


def without_downloads(lines):
    return [line for line in lines if not DOWNLOADS.search(line)]


@pytest.mark.parametrize("case", CASES)
def test_same_ahead_of_dnf5(urls, tmp_path, case, eager):
    """When the service fetches, dnf5 only prints different bars and sizes."""
    present, commands = CASES[case]
    expected = DNF5.outcome(urls["http"], present, commands, tmp_path / "here")
    found = DNF5.outcome(urls["dirs"], present, commands, tmp_path / "here")
    for (command, code, lines, _), (_, found_code, found_lines, _) in zip(expected[0], found[0], strict=True):
        assert found_code == code, as_text(command, found_code, found_lines, [])
        assert without_downloads(found_lines) == without_downloads(lines), command
    assert found[1:] == expected[1:]


@pytest.mark.parametrize("layout", ["dirs", "files"])
@pytest.mark.parametrize("case", CASES)
def test_same(urls, tmp_path, case, layout):
    present, commands = CASES[case]
    expected = DNF5.outcome(urls["http"], present, commands, tmp_path / "here")
    found = DNF5.outcome(urls[layout], present, commands, tmp_path / "here")
    for want, have in zip(expected[0], found[0], strict=True):
        assert as_text(*have) == as_text(*want)
    assert found[1:] == expected[1:]
