"""Every command of DNF 4 has the same output and effect over oci:// as over http://."""

import shutil
from pathlib import Path

import pytest

from conftest import REPOS
from harness.commands import run
from harness.dnf4 import CACHE, PROGRAM, normalized
from harness.lines import as_text
from harness.repository import ADVISORY, COMPS, Repository, build

# DNF's records of packages and groups.
STATE = Path("/var/lib/dnf")

PACKAGES = ["app", "needs", "needed", "odd+name", "tilde"]

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


@pytest.fixture(scope="module")
def urls(web, registry):
    """One repository at two addresses."""
    repository = Repository(web.directory / "repository")
    for package in (
        build("app", "1"), build("app", "2"), build("needs", tags="Requires: needed"),
        build("needed"), build("odd+name"), build("tilde", "1~rc1^git"), source_package(),
    ):
        repository.add(package, "Packages")
    comps = web.directory.parent / "comps.xml"
    comps.write_text(COMPS.format(package="needs"))
    repository.createrepo("-g", comps)
    advisory = web.directory.parent / "updateinfo.xml"
    advisory.write_text(ADVISORY)
    run("modifyrepo_c", advisory, repository.directory / "repodata")
    Path("/tmp/shell").write_text("install app\nrun\nremove app\nrun\ninstall needs\nrun\n")
    reference = f"{registry.address}/acme/same-4"
    repository.push(f"{reference}:dirs")
    repository.push_files(f"{reference}:files")
    return {"http": f"{web.url}/repository", "dirs": f"oci://{reference}:dirs", "files": f"oci://{reference}:files"}


def source_package():
    top = Path("/tmp/source")
    top.mkdir()
    spec = top / "app.spec"
    spec.write_text("Name: app\nVersion: 2\nRelease: 1\nSummary: s\nLicense: MIT\n"
                    "BuildRequires: needed\n%description\ns\n%files\n")
    run("rpmbuild", "-bs", "--quiet", "--define", f"_topdir {top}", "--define", f"_srcrpmdir {top}", spec)
    return next(top.glob("*.src.rpm"))


def outcome(url, present, commands, directory):
    """Runs the commands; returns their outputs, the files that they leave, and the installed packages."""
    for stale in (CACHE, REPOS, STATE, directory, Path("/tmp/other-cache")):
        shutil.rmtree(stale, ignore_errors=True)
        stale.mkdir(parents=True)
    remove_all()
    for package in present:
        name, version = package.rsplit("-", 1)
        run("rpm", "-i", "--nodeps", build(name, version))
    (REPOS / "tools.repo").write_text(f"[tools]\nname=Tools\nbaseurl={url}\n")
    seen = []
    for command in commands:
        result = run(*PROGRAM, *command, code=None, cwd=directory, answer="n\n")
        seen.append(as_text(command, result.code, *normalized(result.output, url)))
    files = sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))
    packages = run("rpm", "-q", *PACKAGES, code=None).output
    remove_all()
    return [*seen, files, packages]


def remove_all():
    for name in PACKAGES:
        run("rpm", "-e", "--nodeps", name, code=None)


@pytest.mark.parametrize("case", CASES)
def test_same(urls, tmp_path, case, dnf4):
    present, commands = CASES[case]
    expected = outcome(urls["http"], present, commands, tmp_path / "here")
    # Alternately, because the layout is the service's affair.
    layout = ("dirs", "files")[list(CASES).index(case) % 2]
    found = outcome(urls[layout], present, commands, tmp_path / "here")
    for have, want in zip(found, expected, strict=True):
        assert have == want
