"""Mirrors and policy are podman's."""

import pytest

from conftest import CONTAINERS
from harness.repository import build

pytestmark = pytest.mark.usefixtures("eager")


def test_a_mirror_serves_a_host_that_does_not_exist(dnf, registry):
    dnf.repository().add(build("one")).describe().push(dnf.reference(registry))
    conf = CONTAINERS / "registries.conf.d" / "mirror.conf"
    conf.write_text(
        '[[registry]]\nlocation = "gone.example/acme"\n'
        f'[[registry.mirror]]\nlocation = "{registry.address}/acme"\ninsecure = true\n'
    )
    try:
        dnf.add("tools", f"oci://gone.example/acme/{dnf.name}:stable")
        registry.clear()
        dnf("repoquery").has("one-0:1-1.noarch")
        assert registry.manifests()
    finally:
        conf.unlink()


def test_the_policy_is_kept_and_its_change_is_seen(dnf, registry):
    dnf.repository().add(build("one")).describe().push(dnf.reference(registry))
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    dnf("repoquery")
    policy = CONTAINERS / "policy.json"
    accepts = policy.read_text()
    policy.write_text('{"default": [{"type": "reject"}]}')
    try:
        dnf("--refresh", "repoquery").has("rejected by policy").has("policy.json")
        dnf("clean", "all")
        dnf("repoquery", code=1).has("rejected by policy")
        assert not (dnf.cache("tools") / "repodata").exists()
    finally:
        policy.write_text(accepts)
    dnf("repoquery").has("one-0:1-1.noarch")


def test_a_change_of_registries_conf_is_seen(dnf, registry):
    dnf.repository().add(build("one")).describe().push(dnf.reference(registry))
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    dnf("repoquery")
    conf = CONTAINERS / "registries.conf.d" / "blocked.conf"
    conf.write_text(f'[[registry]]\nlocation = "{registry.address}/acme/{dnf.name}"\nblocked = true\n')
    try:
        registry.clear()
        dnf("--refresh", "repoquery").has("is blocked in").has("one-0:1-1.noarch")
        assert registry.requests() == []
    finally:
        conf.unlink()
    dnf("--refresh", "repoquery").has_not("is blocked in")
