"""Only the metadata types that dnf5 requests are fetched."""

import re

import pytest

from conftest import CACHE, REPOS
from harness.commands import run
from harness.repository import ADVISORY, COMPS, Repository, build
from harness.sides import Machine, OverHttp, OverOci

# dnf5's default types.
USUAL = ["comps", "updateinfo"]

# The types that a command needs besides primary, and the command.
COMMANDS = {
    "repoquery": (USUAL, ["repoquery"]),
    "provides": (USUAL + ["filelists"], ["provides", "/usr/share/app/file"]),
    "list-files": (USUAL + ["filelists"], ["repoquery", "--list", "app"]),
    "changelogs": (USUAL + ["other"], ["repoquery", "--changelogs", "app"]),
    "group-install": (USUAL, ["-y", "group", "install", "--downloadonly", "tools"]),
    "advisory": (USUAL, ["advisory", "list", "--available"]),
    "none": ([], ["--setopt=optional_metadata_types=", "makecache"]),
    "filelists": (["filelists"], ["--setopt=optional_metadata_types=,filelists", "makecache"]),
    "comps": (["comps"], ["--setopt=optional_metadata_types=,comps", "makecache"]),
    "updateinfo": (["updateinfo"], ["--setopt=optional_metadata_types=,updateinfo", "makecache"]),
    "all": (USUAL + ["filelists", "other"],
            ["--setopt=optional_metadata_types=filelists,comps,updateinfo,other", "makecache"]),
}

# The type follows a checksum.
FILE = re.compile(r"repodata/[0-9a-f]+-(\w+)\.xml\.\w+")


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    top = tmp_path_factory.mktemp("types")
    repository = Repository(top / "repository").add(build("app", "1")).add(build("app", "2"))
    for name, text in (("comps.xml", COMPS.format(package="app")), ("updateinfo.xml", ADVISORY)):
        (top / name).write_text(text)
    repository.createrepo("-g", top / "comps.xml")
    run("modifyrepo_c", top / "updateinfo.xml", repository.directory / "repodata")
    return repository


@pytest.fixture(scope="module")
def sides(web, registry, service, repository):
    both = OverHttp(web, "types"), OverOci(registry, service, "types", "files")
    for side in both:
        side.publish(repository)
    return both


@pytest.mark.parametrize("case", COMMANDS)
def test_types(sides, registry, repository, case):
    types, command = COMMANDS[case]
    texts = []
    for side in sides:
        machine = Machine(side, CACHE, REPOS)
        machine.add()
        machine.dnf(*command)
        machine.record_cache()
        texts.append(str(machine))
    assert texts[1] == texts[0]
    asked = side.requested()
    found = [match[1] for match in map(FILE.fullmatch, asked) if match]
    assert sorted(found) == sorted([*types, "primary"])
    digests = ["sha256:" + run("sha256sum", repository.directory / name).output.split()[0]
               for name in asked]
    assert sorted(registry.blobs()) == sorted(digests), "each is a layer, and fetched once"
