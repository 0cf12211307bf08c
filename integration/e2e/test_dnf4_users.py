"""DNF 4 run by an ordinary user, with the user's own instance, credentials and cache."""

from pathlib import Path

import pytest

from conftest import PRIVATE
from harness.commands import processes, wait_until
from harness.dnf4 import CACHE, PROGRAM
from harness.repository import build
from harness.users import PASSWORD, User


@pytest.fixture(scope="module")
def user():
    return User("four")


@pytest.fixture
def tools(dnf4, registry, pushed):
    dnf4.add("tools", f"oci://{dnf4.reference(registry)}")


def test_an_instance_and_a_cache_of_ones_own(dnf4, registry, user, tools):
    user.run(*PROGRAM, "repoquery").has("one-0:1-1.noarch")
    user.run(*PROGRAM, "download", "one")
    assert (user.home / "one-1-1.noarch.rpm").stat().st_uid == user.id
    assert list(Path("/var/tmp").glob("dnf-four-*/tools-*/repodata/repomd.xml"))
    assert not list(CACHE.glob("tools-*")), "nothing in root's cache"
    assert len(registry.blobs()) == 2, "the metadata and the package"
    wait_until(lambda: not processes(*PRIVATE), "it ends with its user")


def test_the_systems_cache(dnf4, registry, user, tools):
    """With -C, DNF uses root's cache for everyone."""
    dnf4("makecache")
    registry.clear()
    user.run(*PROGRAM, "-C", "repoquery").has("one-0:1-1.noarch")
    assert registry.requests() == []


def test_credentials(dnf4, private_registry, user):
    reference = dnf4.reference(private_registry)
    dnf4.repository().add(build("one")).createrepo().push(
        reference, options=["--username", "user", "--password", PASSWORD])
    dnf4.add("tools", f"oci://{reference}")
    user.run(*PROGRAM, "repoquery", code=1).has("authentication required").has("podman login")
    user.log_in(private_registry, user.home / ".config/containers/auth.json")
    user.run(*PROGRAM, "repoquery").has("one-0:1-1.noarch")
    dnf4("repoquery", code=1).has("authentication required")
    dnf4.add("tools", f"oci://{reference}", username="user", password=PASSWORD)
    dnf4("repoquery").has("one-0:1-1.noarch").has_not(PASSWORD)
