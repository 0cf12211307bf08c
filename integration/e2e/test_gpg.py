"""Signatures of packages and of metadata are checked, and keys imported, as over http."""

import shutil
from pathlib import Path

import pytest

from conftest import CACHE, REPOS
from harness.commands import run
from harness.keys import Key, forget_keys
from harness.repository import Repository, build
from harness.sides import OverHttp, OverOci, World

KEYS = Path("/tmp/keys")

# What we say of metadata that are not signed.
OURS = [r"repository tools .*: the repository has no \"repodata/repomd.xml.asc\"; have its owner"]


@pytest.fixture(scope="module")
def keys():
    KEYS.mkdir()
    return Key(KEYS, "owner"), Key(KEYS, "stranger")


@pytest.fixture(scope="module")
def packages(keys, tmp_path_factory):
    """One repository: packages with all kinds of signatures, and metadata without."""
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
    return repository.add(changed).describe()


@pytest.fixture(scope="module")
def metadata(keys, tmp_path_factory):
    """Repositories whose metadata have all kinds of signatures."""
    top = tmp_path_factory.mktemp("metadata")
    owner, stranger = keys
    found = {name: Repository(top / name).add(build("one"))
             for name in ("good", "later", "stranger", "unsigned", "changed")}
    found["later"].add(build("two"))
    for repository in found.values():
        repository.describe()
    for name in ("good", "later", "changed"):
        owner.sign_metadata(found[name])
    stranger.sign_metadata(found["stranger"])
    with (found["changed"].directory / "repodata/repomd.xml").open("a") as repomd:
        repomd.write("<!-- changed -->\n")
    return found


@pytest.fixture
def sides(web, registry, service, keys, request):
    """The sides, with the owner's key at the web server as well."""
    shutil.copy(keys[0].public, web.directory / "key.asc")
    name = request.node.name.replace("[", "-").rstrip("]").removeprefix("test_").replace("_", "-")
    yield [OverHttp(web, "repository"), *(OverOci(registry, service, name, layout)
                                          for layout in ("dirs", "files"))]
    forget_keys()


def same(sides, story):
    """Tells the story at each side; the packages and keys of the one before are gone."""
    texts = []
    for side in sides:
        forget_keys()
        world = World(side, CACHE, REPOS)
        try:
            story(world)
        finally:
            for name in ("good", "better"):
                run("rpm", "-e", name, code=None)
        texts.append(str(world))
    for text in texts[1:]:
        assert text == texts[0]


@pytest.fixture(params=["file", "http"])
def gpgkey(request, keys, web):
    return f"file://{keys[0].public}" if request.param == "file" else f"{web.url}/key.asc"


def test_packages(sides, packages, gpgkey):
    def story(world):
        world.side.publish(packages)
        world.add(gpgcheck=1, gpgkey=gpgkey)
        world.dnf("install", "good", answer="y\nn\n")
        world.dnf("-y", "install", "good").has("Complete!").has("Importing OpenPGP key")
        world.dnf("-y", "install", "better").has("Complete!").has_not("Importing OpenPGP key")
        for name in ("stranger", "unsigned", "changed"):
            world.dnf("-y", "install", name)
            assert run("rpm", "-q", name, code=1)
        world.tell_cache()
    same(sides, story)


def test_packages_without_a_key(sides, packages):
    def story(world):
        world.side.publish(packages)
        world.add(gpgcheck=1)
        world.dnf("-y", "install", "good").has_not("Complete!")
    same(sides, story)


def test_metadata_with_a_key_from_either_place(sides, metadata, gpgkey):
    def story(world):
        world.side.publish(metadata["good"])
        world.add(repo_gpgcheck=1, gpgkey=gpgkey)
        world.dnf("-y", "repoquery").has("one-0:1-1").has("Importing OpenPGP key")
        world.dnf("--refresh", "repoquery").has("one-0:1-1").has_not("Importing OpenPGP key")
    same(sides, story)


def test_metadata(sides, metadata, keys):
    def story(world):
        world.side.publish(metadata["good"])
        world.add(repo_gpgcheck=1, gpgkey=f"file://{keys[0].public}")
        world.dnf("repoquery", answer="n\n").has_not("one-0:1-1")
        world.dnf("-y", "repoquery").has("one-0:1-1").has("Importing OpenPGP key")
        world.tell_cache()
        # The keyring is filed under the repository's URL, which stays the same.
        world.dnf("--refresh", "repoquery").has("one-0:1-1").has_not("Importing OpenPGP key")
        world.side.restart()
        world.side.publish(metadata["later"])
        world.dnf("--refresh", "repoquery").has("two-0:1-1").has_not("Importing OpenPGP key")
        for name in ("stranger", "unsigned", "changed"):
            ours = OURS if name == "unsigned" else []
            world.side.publish(metadata[name])
            for options in ([], ["-y"], ["--setopt=skip_if_unavailable=1"]):
                world.dnf(*options, "--refresh", "repoquery", "one", ours=ours).has_not("one-0:1-1")
        world.tell_cache()
    same(sides, story)


@pytest.mark.parametrize("kind", ["stranger", "unsigned", "changed"])
def test_metadata_never_seen_before(sides, metadata, kind, keys):
    def story(world):
        world.side.publish(metadata[kind])
        world.add(repo_gpgcheck=1, gpgkey=f"file://{keys[0].public}")
        ours = OURS if kind == "unsigned" else []
        world.dnf("-y", "repoquery", ours=ours).has_not("one-0:1-1")
        world.tell_cache()
    same(sides, story)
