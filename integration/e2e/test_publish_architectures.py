"""One tag for several architectures: each has its metadata, and they share packages."""

import pytest

from harness.layout import conforms
from harness.publishing import FEW, add, garbage_collect, many, numbered, publish, remove, verify
from harness.repository import build

SHARED = numbered(30, "shared")
ARCHES = ("x86_64", "aarch64")


def tree_of(dnf, arch):
    repository = dnf.repository(arch)
    for package in many(SHARED):
        repository.add(package)
    return repository.add(build(f"for-{arch}", arch=arch))


@pytest.fixture
def published(dnf, tools):
    """Both architectures, one after the other."""
    return [publish(tree_of(dnf, arch), tools, "--arch", arch, *FEW) for arch in ARCHES]


def fetch_for(dnf, arch, *names, **how):
    dnf("clean", "all")
    return dnf(f"--forcearch={arch}", "-y", "install", "--downloadonly", *names, **how)


def test_each_has_its_metadata(dnf, registry, tools, published, fetch):
    tree = conforms(registry, tools, layers=20)
    platforms = [entry["platform"]["architecture"] for entry in tree.index["manifests"][:2]]
    assert platforms == ["amd64", "arm64"]
    for arch, other in (ARCHES, ARCHES[::-1]):
        fetch_for(dnf, arch, f"for-{arch}", *SHARED[::10]).has("Complete!")
        fetch_for(dnf, arch, f"for-{other}", code=1)
    garbage_collect(registry)
    verify(tools)


def test_noarch_packages_are_there_once(registry, tools, published):
    segments = conforms(registry, tools, layers=20).segments
    digests = [layer["digest"] for segment in segments for layer in segment["layers"]]
    assert len(digests) == len(set(digests)) == 30 + 2
    assert published[1].pushed < 10, "the second architecture brings its package and metadata"


def test_an_update_of_one_leaves_the_other(dnf, registry, tools, published):
    before = conforms(registry, tools, layers=20)
    add(tools, build("new", arch="aarch64"), "--arch", "aarch64", *FEW)
    remove(tools, f"{SHARED[0]}-1-1.noarch", "--arch", "aarch64", *FEW)
    after = conforms(registry, tools, layers=20)
    assert after.metadata[0] == before.metadata[0]
    fetch_for(dnf, "aarch64", "new", "for-aarch64").has("Complete!")
    fetch_for(dnf, "aarch64", SHARED[0], code=1)
    fetch_for(dnf, "x86_64", SHARED[0]).has("Complete!")
    garbage_collect(registry)
    verify(tools)


def test_another_architecture_is_refused_clearly(dnf, tools, published):
    fetch_for(dnf, "ppc64le", SHARED[0], code=1).tells("ppc64le")
