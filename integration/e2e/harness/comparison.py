"""The same commands with the same repository at two addresses: plain HTTP and a registry."""

import shutil
from pathlib import Path

from .commands import run
from .repository import ADVISORY, COMPS, Repository, build

REPOS = Path("/etc/yum.repos.d")
OTHER_CACHE = Path("/tmp/other-cache")
SOURCE = Path("/tmp/source")

PACKAGES = ["app", "needs", "needed", "odd+name", "tilde"]


def publish(web, registry, name):
    """Publishes one repository; returns its URLs, by where it is and how it is laid out."""
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
    reference = f"{registry.address}/acme/{name}"
    repository.push(f"{reference}:dirs")
    repository.push_files(f"{reference}:files")
    return {"http": f"{web.url}/repository", "dirs": f"oci://{reference}:dirs", "files": f"oci://{reference}:files"}


def source_package():
    shutil.rmtree(SOURCE, ignore_errors=True)
    SOURCE.mkdir()
    spec = SOURCE / "app.spec"
    spec.write_text("Name: app\nVersion: 2\nRelease: 1\nSummary: s\nLicense: MIT\n"
                    "BuildRequires: needed\n%description\ns\n%files\n")
    run("rpmbuild", "-bs", "--quiet", "--define", f"_topdir {SOURCE}", "--define", f"_srcrpmdir {SOURCE}", spec)
    return next(SOURCE.glob("*.src.rpm"))


class Tool:
    """A package manager.

    program    its command line
    state      its cache, and its records of packages and groups
    normalize  turns an output into lines, and lines about downloads
    """

    def __init__(self, program, state, normalize):
        self.program = program
        self.state = state
        self.normalize = normalize

    def outcome(self, url, present, commands, directory):
        """Runs the commands; returns their outputs, the files that they leave, and the installed packages."""
        for stale in (*self.state, REPOS, directory, OTHER_CACHE):
            shutil.rmtree(stale, ignore_errors=True)
            stale.mkdir(parents=True)
        remove_all()
        for package in present:
            name, version = package.rsplit("-", 1)
            run("rpm", "-i", "--nodeps", build(name, version))
        (REPOS / "tools.repo").write_text(f"[tools]\nname=Tools\nbaseurl={url}\n")
        seen = []
        for command in commands:
            result = run(*self.program, *command, code=None, cwd=directory, answer="n\n")
            seen.append((command, result.code, *self.normalize(result.output, url)))
        files = sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))
        packages = run("rpm", "-q", *PACKAGES, code=None).output
        remove_all()
        return seen, files, packages


def remove_all():
    for name in PACKAGES:
        run("rpm", "-e", "--nodeps", name, code=None)
