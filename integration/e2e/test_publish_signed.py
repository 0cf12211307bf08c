"""What is published with a signature: at no moment does the tag lead to something unsigned."""

import re
import shutil
import threading
from pathlib import Path

import pytest

from harness.commands import run
from harness.keys import Key, remove_keys
from harness.layout import conforms
from harness.podman import refusal
from harness.publishing import FEW, add, filled, many, numbered, outcome, publish, refused, remove, verify
from harness.repository import build
from harness.signing import POLICY, policy, scope

pytestmark = pytest.mark.usefixtures("signatures")

NAMES = numbered(50)
KEYS = Path("/tmp/publishing-keys")


@pytest.fixture(params=["sigstore", "gpg"])
def signed(request, acme, tools):
    """Options that sign, with a policy that requires it."""
    if request.param == "gpg":
        policy({scope(tools): acme.require_gpg()})
        fingerprint = re.search("[0-9A-F]{40}", run("gpg", "--list-keys", acme.mail).output)
        return ["--sign-by", fingerprint[0]]
    policy({scope(tools): acme.require_sigstore()})
    return ["--sign-by-sigstore-private-key", acme.private, "--sign-passphrase-file", "/dev/null"]


@pytest.fixture
def repository(dnf):
    return filled(dnf.repository(), many(NAMES))


class Watch:
    """Asks again and again whether podman would take what the tag leads to."""

    def __init__(self, reference):
        self.reference = reference
        self.refusals = []
        self.count = 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.look)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def look(self):
        while not self.over.is_set():
            self.count += 1
            if reason := refusal(self.reference):
                self.refusals.append(reason)


def served(dnf, *names):
    dnf("clean", "all")
    dnf("-y", "install", "--downloadonly", *names).has("Complete!")


def test_the_tag_leads_to_nothing_unsigned(dnf, registry, tools, repository, signed):
    publish(repository, tools, *signed, *FEW)
    served(dnf, *NAMES[::10])
    with Watch(tools) as watch:
        add(tools, build("new"), *signed, *FEW)
        remove(tools, f"{NAMES[0]}-1-1.noarch", *signed, *FEW)
    assert watch.count > 3 and not watch.refusals
    conforms(registry, tools, layers=20)
    verify(tools)
    served(dnf, "new", NAMES[1])


def test_unsigned_is_refused(dnf, tools, repository, signed):
    publish(repository, tools, *FEW)
    dnf("repoquery", code=1).tells("A signature was required")
    refused("verify", tools).tells("A signature was required")


def test_an_update_without_a_signature_is_refused_by_the_policy(dnf, tools, repository, signed):
    publish(repository, tools, *signed, *FEW)
    add(tools, build("new"), *FEW)
    dnf("repoquery", "--refresh", code=1).tells("A signature was required")


def test_the_same_again_signed(dnf, tools, repository, signed):
    """What was published without a signature gets one, though nothing else has changed."""
    required = POLICY.read_text()
    policy({})
    first = publish(repository, tools, *FEW)
    again = publish(repository, tools, *signed, *FEW)
    assert again.digest == first.digest
    POLICY.write_text(required)
    served(dnf, NAMES[0])


def test_one_signature_is_enough(registry, tools, repository, acme):
    policy({scope(tools): acme.require_sigstore()})
    publish(repository, tools, "--sign-by-sigstore-private-key", acme.private, "--sign-passphrase-file", "/dev/null",
            *FEW)
    tags = run("oras", "repo", "tags", "--plain-http", scope(tools)).output.split()
    assert len([tag for tag in tags if tag.endswith(".sig")]) == 1


def test_promoted_with_the_signature_of_the_new_tag(dnf, registry, tools, repository, signed):
    testing = tools.replace(":stable", ":testing")
    first = publish(repository, tools, *signed, *FEW)
    publish(repository.add(build("new")), testing, *signed, *FEW)
    with Watch(tools) as watch:
        outcome("promote", testing, tools, *signed)
    assert watch.count and not watch.refusals
    served(dnf, "new")
    with Watch(tools) as watch:
        outcome("promote", f"{scope(tools)}@{first.digest}", tools, *signed)
    assert watch.count and not watch.refusals
    dnf("repoquery", "--refresh").has(NAMES[0]).has_not("new-0:1-1")


def test_promotion_signs_nothing_that_the_policy_rejects(tools, repository, signed):
    publish(repository, tools, *FEW)
    refused("promote", tools, tools.replace(":stable", ":other"), *signed).tells("A signature was required")


def test_no_such_key(tools, repository):
    refused("publish", repository.directory, tools, "--sign-by-sigstore-private-key", "/nonexistent.key").has(
        "/nonexistent.key")
    refused("publish", repository.directory, tools, "--sign-by", "0" * 40).has("0" * 40)


def test_signed_metadata(dnf, registry, tools, repository):
    KEYS.mkdir(exist_ok=True)
    key = Key(KEYS, "metadata")
    shutil.copy(key.public, repository.directory / "RPM-GPG-KEY-metadata")
    home = {"env": {"PATH": "/usr/bin:/usr/sbin", "GNUPGHOME": str(key.home)}}
    publish(repository, tools, "--sign-metadata", "metadata", *FEW, **home)
    dnf.add("tools", f"oci://{tools}", repo_gpgcheck=1, gpgkey=f"file://{key.public}")
    served(dnf, NAMES[0])
    add(tools, build("new"), "--sign-metadata", "metadata", *FEW, **home)
    conforms(registry, tools, layers=20)
    served(dnf, "new")
    refused("add", tools, build("newer"), *FEW).has("--sign-metadata")
    registry.clear()
    again = publish(repository.add(build("new")), tools, "--sign-metadata", "metadata", *FEW, **home)
    assert again.packages == 51
    remove_keys()
