"""Signatures of packages and metadata are checked, and keys are imported, as over HTTP."""

import shutil
from pathlib import Path

import pytest

from conftest import CACHE, REPOS
from harness.commands import run
from harness.keys import Key, remove_keys
from harness.repository import Repository, build
from harness.sides import Machine, OverHttp, OverOci

KEYS = Path("/tmp/keys")

# Our line about unsigned metadata.
OURS = [r"repository tools .*: the repository has no signature \(\"repodata/repomd.xml.asc\"\); "
        "have its owner sign it, or set repo_gpgcheck=0"]


@pytest.fixture(scope="module")
def keys():
    KEYS.mkdir()
    return Key(KEYS, "owner"), Key(KEYS, "stranger")


@pytest.fixture(scope="module")
def packages(keys, tmp_path_factory):
    """A repository with packages with all kinds of signatures, and unsigned metadata."""
    top = tmp_path_factory.mktemp("packages")
    owner, stranger = keys
    repository = Repository(top / "repository")
    repository.add(owner.sign_package(build("good"), top / "good"))
    repository.add(owner.sign_package(build("better"), top / "better"))
    repository.add(stranger.sign_package(build("stranger"), top / "stranger"))
    repository.add(build("unsigned"))
    changed = owner.sign_package(build("changed"), top / "changed")
    content = changed.read_bytes()
    changed.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    return repository.add(changed).createrepo()


@pytest.fixture(scope="module")
def metadata(keys, tmp_path_factory):
    """Repositories whose metadata has all kinds of signatures."""
    top = tmp_path_factory.mktemp("metadata")
    owner, stranger = keys
    found = {name: Repository(top / name).add(build("one"))
             for name in ("good", "later", "stranger", "unsigned", "changed")}
    found["later"].add(build("two"))
    for repository in found.values():
        repository.createrepo()
    for name in ("good", "later", "changed"):
        owner.sign_metadata(found[name])
    stranger.sign_metadata(found["stranger"])
    with (found["changed"].directory / "repodata/repomd.xml").open("a") as repomd:
        repomd.write("<!-- changed -->\n")
    return found


@pytest.fixture
def sides(web, registry, service, keys, request, fetch):
    """The repositories to compare. The web server also has the owner's key."""
    shutil.copy(keys[0].public, web.directory / "key.asc")
    name = request.node.name.replace("[", "-").rstrip("]").removeprefix("test_").replace("_", "-")
    found = [OverOci(registry, service, name, layout, fetch) for layout in ("dirs", "files")]
    # With a head start dnf5 requests and prints less than over HTTP.
    yield found if fetch == "eager" else [OverHttp(web, "repository"), *found]
    remove_keys()


def same(sides, scenario):
    """Runs a scenario with each repository, from the same state, and compares the transcripts."""
    texts = []
    for side in sides:
        remove_keys()
        machine = Machine(side, CACHE, REPOS)
        try:
            scenario(machine)
        finally:
            for name in ("good", "better"):
                run("rpm", "-e", name, code=None)
        texts.append(str(machine))
    for text in texts[1:]:
        assert text == texts[0]


@pytest.fixture(params=["file", "http"])
def gpgkey(request, keys, web):
    return f"file://{keys[0].public}" if request.param == "file" else f"{web.url}/key.asc"


def test_packages(sides, packages, gpgkey):
    def scenario(machine):
        machine.side.publish(packages)
        machine.add(gpgcheck=1, gpgkey=gpgkey)
        machine.dnf("install", "good", answer="y\nn\n")
        machine.dnf("-y", "install", "good").has("Complete!").has("Importing OpenPGP key")
        machine.dnf("-y", "install", "better").has("Complete!").has_not("Importing OpenPGP key")
        for name in ("stranger", "unsigned", "changed"):
            machine.dnf("-y", "install", name)
            assert run("rpm", "-q", name, code=1)
        machine.record_cache()
    same(sides, scenario)


@pytest.mark.parametrize("path", ["KEY.asc", "keys/KEY.asc"])
def test_a_key_in_the_artifact(dnf, registry, keys, fetch, path, tmp_path, installed):
    installed.append("good")
    repository = dnf.repository().add(keys[0].sign_package(build("good"), tmp_path / "good")).createrepo()
    keys[0].sign_metadata(repository)
    target = repository.directory / path
    target.parent.mkdir(exist_ok=True)
    shutil.copy(keys[0].public, target)
    reference = f"oci://{dnf.reference(registry)}"
    repository.push(dnf.reference(registry))
    dnf.add("tools", reference, gpgcheck=1, repo_gpgcheck=1, gpgkey=f"{reference}/{path}")
    registry.clear()
    try:
        dnf("-y", "install", "good").has("Importing OpenPGP key").has("Complete!")
        assert len(registry.manifests()) == (2 if fetch == "on-demand" else 3), registry.requests()
        shown = reference.removeprefix("oci://")
        assert f"files/{shown}/{path}" in dnf.cached("tools")
        registry.clear()
        dnf("repoquery").has("good-0:1-1")
        assert registry.requests() == []
        dnf.add("tools", reference, gpgcheck=1, repo_gpgcheck=1, gpgkey=f"{reference}/none.asc")
        remove_keys()
        dnf.clear_cache()
        dnf("-y", "repoquery", code=1).has(f'repository tools {reference}: ').has('"none.asc"')
        dnf.add("tools", reference, gpgcheck=1, repo_gpgcheck=1, gpgkey=reference)
        dnf("-y", "repoquery", code=1).has("repository tools: invalid reference").has("no path of a file follows")
    finally:
        remove_keys()


def test_packages_without_a_key(sides, packages):
    def scenario(machine):
        machine.side.publish(packages)
        machine.add(gpgcheck=1)
        machine.dnf("-y", "install", "good").has_not("Complete!")
    same(sides, scenario)


def test_metadata_with_a_key_from_either_place(sides, metadata, gpgkey):
    def scenario(machine):
        machine.side.publish(metadata["good"])
        machine.add(repo_gpgcheck=1, gpgkey=gpgkey)
        machine.dnf("-y", "repoquery").has("one-0:1-1").has("Importing OpenPGP key")
        machine.dnf("--refresh", "repoquery").has("one-0:1-1").has_not("Importing OpenPGP key")
    same(sides, scenario)


def test_metadata(sides, metadata, keys):
    def scenario(machine):
        machine.side.publish(metadata["good"])
        machine.add(repo_gpgcheck=1, gpgkey=f"file://{keys[0].public}")
        machine.dnf("repoquery", answer="n\n").has_not("one-0:1-1")
        machine.dnf("-y", "repoquery").has("one-0:1-1").has("Importing OpenPGP key")
        machine.record_cache()
        # The keyring belongs to the repository's URL, which stays the same.
        machine.dnf("--refresh", "repoquery").has("one-0:1-1").has_not("Importing OpenPGP key")
        machine.side.restart()
        machine.side.publish(metadata["later"])
        machine.dnf("--refresh", "repoquery").has("two-0:1-1").has_not("Importing OpenPGP key")
        for name in ("stranger", "unsigned", "changed"):
            ours = OURS if name == "unsigned" else []
            machine.side.publish(metadata[name])
            for options in ([], ["-y"], ["--setopt=skip_if_unavailable=1"]):
                machine.dnf(*options, "--refresh", "repoquery", "one", ours=ours).has_not("one-0:1-1")
        machine.record_cache()
    same(sides, scenario)


@pytest.mark.parametrize("kind", ["stranger", "unsigned", "changed"])
def test_metadata_never_seen_before(sides, metadata, kind, keys):
    def scenario(machine):
        machine.side.publish(metadata[kind])
        machine.add(repo_gpgcheck=1, gpgkey=f"file://{keys[0].public}")
        ours = OURS if kind == "unsigned" else []
        machine.dnf("-y", "repoquery", ours=ours).has_not("one-0:1-1")
        machine.record_cache()
    same(sides, scenario)
