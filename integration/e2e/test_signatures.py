"""policy.json is enforced: dnf5 gets exactly what `skopeo copy` gets."""

import json
import re
import shutil
import subprocess
import textwrap
from pathlib import Path

import pytest

from conftest import CACHE, CONTAINERS
from harness.commands import run, wait_until
from harness.repository import Repository, build
from harness.signing import (
    ANY_TAG,
    ANYTHING,
    LOOKASIDE,
    NOTHING,
    POLICY,
    REGISTRIES_D,
    Keys,
    policy,
    registries_d,
    scope,
    temporary_policy,
)

pytestmark = pytest.mark.usefixtures("signatures")

GUIDE = Path(__file__).resolve().parents[2] / "docs/signatures.md"
STORE = Path("/var/cache/dnf5-oci")
REFUSED = re.compile(r"Source image rejected: (.*)\"$", re.MULTILINE)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return Keys(tmp_path_factory.mktemp("other"), "other")


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return Repository(tmp_path_factory.mktemp("one") / "repository").add(build("one")).createrepo()


@pytest.fixture
def pushed(dnf, registry, repository):
    """The reference of a repository with one package, which dnf5 knows as `tools`."""
    reference = dnf.reference(registry)
    repository.push(reference)
    dnf.add("tools", f"oci://{reference}")
    return reference


def layers():
    """The unpacked layers."""
    return sorted(STORE.glob("*/sha256-*"))


def refusal_by_skopeo(image, tmp_path):
    """Returns skopeo's message if it refuses an image, otherwise None."""
    shutil.rmtree(tmp_path / "copied", ignore_errors=True)
    result = run("skopeo", "copy", "--quiet", image, f"dir:{tmp_path / 'copied'}", code=None)
    if result.code == 0:
        return None
    return json.loads('"%s"' % REFUSED.search(result.output)[1])


def served(dnf):
    dnf("--refresh", "repoquery").has("one-0:1-1.noarch")


def refused(dnf, reason, rule):
    """Asserts that dnf5 is refused, prints the reason once, and caches nothing."""
    before = layers()
    reason = reason.rstrip(".")
    result = dnf("repoquery", code=1).has_not("one-0:1-1.noarch")
    result.tells(f": {reason}; {POLICY}, {rule}: ")
    assert result.output.count(f"{POLICY}, {rule}") == 1, result
    assert not [path for path in CACHE.rglob("*") if "repodata" in path.name], "nothing is cached"
    assert layers() == before
    return result


def test_reject_by_default_and_one_scope_that_accepts(dnf, registry, pushed, tmp_path):
    policy({scope(pushed): ANYTHING}, default=NOTHING)
    assert refusal_by_skopeo(f"docker://{pushed}", tmp_path) is None
    served(dnf)
    policy({f"{registry.address}/elsewhere": ANYTHING}, default=NOTHING)
    dnf("clean", "all")
    reason = refusal_by_skopeo(f"docker://{pushed}", tmp_path)
    assert reason == f"Running image docker://{pushed} is rejected by policy."
    refused(dnf, reason, "default").has("rejects everything; change the policy")


@pytest.mark.parametrize("backend", ["system", "private"])
def test_beforehand_it_is_the_same(eager, dnf, registry, pushed, acme, backend):
    dnf.backend(backend)
    policy({f"{registry.address}/acme": acme.require_gpg()})
    refused(dnf, "A signature was required, but no signature exists",
            f'scope "{registry.address}/acme"')
    policy({scope(pushed): ANYTHING, f"{registry.address}/acme": acme.require_gpg()})
    served(dnf)


def test_a_scope_for_one_repository_beside_a_default(dnf, registry, pushed, acme):
    sibling = pushed.replace(":stable", "-two:stable")
    run("skopeo", "copy", "--quiet", f"docker://{pushed}", f"docker://{sibling}")
    dnf.add("sibling", f"oci://{sibling}", skip_if_unavailable=1)
    policy({scope(sibling): acme.require_gpg()})
    result = dnf("repoquery", "--queryformat=%{repoid} %{name}\n").has("tools one")
    result.has_not("sibling one").tells(f'{POLICY}, scope "{scope(sibling)}": requires a GPG signature')


# The signature, the requirement, and whether the repository is served.
CASES = {
    "gpg": ("gpg", "gpg", True),
    "gpg-unsigned": (None, "gpg", False),
    "gpg-by-another": ("gpg-other", "gpg", False),
    "gpg-of-another-repository": ("gpg-elsewhere", "gpg", False),
    "gpg-of-another-tag": ("gpg-other-tag", "gpg", False),
    "gpg-of-another-tag-that-does-not-matter": ("gpg-other-tag", "gpg-any-tag", True),
    "gpg-by-digest": ("gpg-other-tag", "gpg", True),
    "gpg-damaged": ("gpg-damaged", "gpg", False),
    "gpg-empty": ("gpg-empty", "gpg", False),
    "gpg-twice-wrong": ("gpg-twice", "gpg", False),
    "gpg-key-missing": ("gpg", "no-key", False),
    "gpg-key-not-one": ("gpg", "bad-key", False),
    "sigstore-by-skopeo": ("skopeo", "sigstore", True),
    "sigstore-by-cosign": ("cosign", "sigstore-any-tag", True),
    "sigstore-by-cosign-names-no-tag": ("cosign", "sigstore", False),
    "sigstore-by-cosign-in-its-new-form": ("cosign-new", "sigstore-any-tag", False),
    "sigstore-by-another": ("cosign-other", "sigstore-any-tag", False),
    "sigstore-unsigned": (None, "sigstore", False),
    "sigstore-damaged": ("skopeo-damaged", "sigstore", False),
    "sigstore-key-missing": ("skopeo", "no-public-key", False),
    "sigstore-where-gpg-is-demanded": ("skopeo", "gpg", False),
}


def sign(how, reference, acme, other):
    def signature():
        return next(LOOKASIDE.rglob("signature-1"))

    def corrupt(path):
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])

    elsewhere = f"{scope(reference)}-elsewhere:stable"
    match how:
        case "gpg" | "gpg-damaged" | "gpg-empty" | "gpg-twice":
            acme.sign_with_gpg(reference)
        case "gpg-other":
            other.sign_with_gpg(reference)
        case "gpg-elsewhere":
            acme.sign_with_gpg(reference, elsewhere)
        case "gpg-other-tag":
            acme.sign_with_gpg(reference, f"{scope(reference)}:old")
        case "skopeo" | "skopeo-damaged":
            acme.sign_with_skopeo(reference)
        case "cosign":
            acme.sign_with_cosign(reference)
        case "cosign-new":
            acme.sign_with_cosign(reference, "--new-bundle-format=true")
        case "cosign-other":
            other.sign_with_cosign(reference)
    match how:
        case "gpg-damaged":
            corrupt(signature())
        case "gpg-empty":
            signature().write_bytes(b"")
        case "gpg-twice":
            corrupt(signature())
            shutil.copy(signature(), signature().with_name("signature-2"))
        case "skopeo-damaged":
            replace_sigstore_signature(reference)


def replace_sigstore_signature(reference):
    digest = run("oras", "resolve", "--plain-http", reference).output.strip()
    attached = f"{scope(reference)}:{digest.replace(':', '-')}.sig"
    manifest = json.loads(run("oras", "manifest", "fetch", "--plain-http", attached).output)
    annotations = manifest["layers"][0]["annotations"]
    signature = annotations["dev.cosignproject.cosign/signature"]
    annotations["dev.cosignproject.cosign/signature"] = signature[:8] + "AAAAAAAA" + signature[16:]
    run("oras", "manifest", "push", "--plain-http", attached, "-", answer=json.dumps(manifest))


@pytest.mark.parametrize("case", CASES)
def test_the_same_as_skopeo(dnf, registry, repository, acme, other, tmp_path, case):
    signed, required, accepted = CASES[case]
    reference = dnf.reference(registry)
    digest = repository.push(reference)
    sign(signed, reference, acme, other)
    if case == "gpg-by-digest":
        reference = f"{scope(reference)}@{digest}"
    dnf.add("tools", f"oci://{reference}")
    requirement, key = {
        "gpg": (acme.require_gpg(), acme.gpg),
        "gpg-any-tag": (acme.require_gpg(ANY_TAG), acme.gpg),
        "no-key": (acme.require_gpg() | {"keyPath": "/nonexistent/acme.gpg"}, "/nonexistent/acme.gpg"),
        "bad-key": (acme.require_gpg() | {"keyPath": str(acme.public)}, acme.public),
        "sigstore": (acme.require_sigstore(), acme.public),
        "sigstore-any-tag": (acme.require_sigstore(ANY_TAG), acme.public),
        "no-public-key": (acme.require_sigstore() | {"keyPath": "/nonexistent/acme.pub"},
                          "/nonexistent/acme.pub"),
    }[required]
    policy({f"{registry.address}/acme": requirement})
    reason = refusal_by_skopeo(f"docker://{reference}", tmp_path)
    assert (reason is None) == accepted, reason
    if accepted:
        served(dnf)
    else:
        reason = re.sub(r'gpgme.Signature{.*Fingerprint:"(\w+)".*}', r"made with the key \1", reason)
        result = refused(dnf, reason, f'scope "{registry.address}/acme"')
        reason = re.sub("^No data$", "GPG cannot read the signature: No data", reason)
        doctor = run("dnf5-oci", "doctor", f"oci://{reference}", code=1)
        doctor.has(f"policy           failed   {reason}; {POLICY}, scope ")
        kind = "sigstore" if requirement["type"] == "sigstoreSigned" else "GPG"
        result.tells(f"requires a {kind} signature by {key}; sign it")


def test_a_lookaside_over_http(dnf, registry, pushed, acme, tmp_path):
    acme.sign_with_gpg(pushed)
    registries_d(registry.address, lookaside="http://localhost:8098")
    policy({f"{registry.address}/acme": acme.require_gpg()})
    server = subprocess.Popen(["python3", "-m", "http.server", "8098", "--directory", LOOKASIDE],
                              stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: run("curl", "-s", "http://localhost:8098", code=None).code == 0, "it is served")
        assert refusal_by_skopeo(f"docker://{pushed}", tmp_path) is None
        served(dnf)
    finally:
        server.terminate()
        server.wait()
    dnf("clean", "all")
    reason = refusal_by_skopeo(f"docker://{pushed}", tmp_path)
    assert "connection refused" in reason
    refused(dnf, reason, f'scope "{registry.address}/acme"')


@pytest.fixture
def mirrored():
    """A host that does not exist; the registry is a mirror of it."""
    conf = CONTAINERS / "registries.conf.d" / "mirror.conf"
    conf.write_text('[[registry]]\nlocation = "gone.example"\n[[registry.mirror]]\n'
                    'location = "localhost:5000"\ninsecure = true\n')
    yield "gone.example"
    conf.unlink()


def test_a_mirror_serves_what_is_signed_for_the_name_that_was_asked_for(
        dnf, registry, pushed, mirrored, acme, tmp_path):
    asked_for = pushed.replace(registry.address, mirrored)
    dnf.add("tools", f"oci://{asked_for}")
    policy({mirrored: acme.require_gpg()})
    acme.sign_with_gpg(pushed, asked_for)
    assert refusal_by_skopeo(f"docker://{asked_for}", tmp_path) is None
    served(dnf)


def test_a_mirror_with_signatures_for_its_own_name(
        dnf, registry, pushed, mirrored, acme, tmp_path):
    asked_for = pushed.replace(registry.address, mirrored)
    dnf.add("tools", f"oci://{asked_for}")
    policy({mirrored: acme.require_gpg()})
    acme.sign_with_gpg(pushed)
    reason = refusal_by_skopeo(f"docker://{asked_for}", tmp_path)
    assert reason == f'Signature for identity "{pushed}" is not accepted'
    refused(dnf, reason, f'scope "{mirrored}"')
    remap = {"type": "remapIdentity", "prefix": mirrored, "signedPrefix": registry.address}
    policy({mirrored: acme.require_gpg(remap)})
    assert refusal_by_skopeo(f"docker://{asked_for}", tmp_path) is None
    served(dnf)


@pytest.mark.parametrize("signed", ["nothing", "both", "the-index"])
def test_an_index(dnf, registry, repository, acme, tmp_path, signed):
    index = dnf.reference(registry)
    entry = repository.push(dnf.reference(registry, "entry"))
    run("oras", "manifest", "index", "create", "--plain-http", index, "entry")
    top = run("oras", "resolve", "--plain-http", index).output.strip()
    for digest in {"nothing": [], "both": [top, entry], "the-index": [top]}[signed]:
        acme.sign_one(index, digest, LOOKASIDE)
    policy({f"{registry.address}/acme": acme.require_gpg()})
    dnf.add("tools", f"oci://{index}")
    reason = refusal_by_skopeo(f"docker://{index}", tmp_path)
    if signed == "nothing":
        refused(dnf, reason, f'scope "{registry.address}/acme"')
        return
    served(dnf)
    # Here skopeo's proxy and copy differ: the proxy accepts a signed index, which pins its entries by
    # their digests, while copy requires a signature of the entry.
    assert (reason is None) == (signed == "both"), reason


def test_a_local_layout(dnf, pushed, acme, tmp_path):
    Path("/srv/layouts").mkdir()
    run("skopeo", "copy", "--quiet", f"docker://{pushed}", "oci:/srv/layouts/one:stable")
    link = tmp_path / "link"
    link.symlink_to("/srv/layouts/one")
    for layout in ("/srv/layouts/one", link):
        dnf.add("tools", f"oci://{layout}:stable")
        for requirement, says in ((NOTHING, "rejects everything"), (acme.require_gpg(), "requires a GPG")):
            policy({"/srv/layouts": requirement}, transport="oci")
            reason = refusal_by_skopeo(f"oci:{layout}:stable", tmp_path)
            refused(dnf, reason, 'scope "/srv/layouts"').has(says).has("accept its directory" if
                    requirement != NOTHING else "change the policy")
        policy({"/srv/layouts": ANYTHING}, default=NOTHING, transport="oci")
        assert refusal_by_skopeo(f"oci:{layout}:stable", tmp_path) is None
        served(dnf)
        dnf("clean", "all")


def test_a_change_of_the_policy_is_seen(dnf, registry, pushed):
    dnf("repoquery").has("one-0:1-1.noarch")
    with temporary_policy({}, default=NOTHING):
        registry.clear()
        dnf("--refresh", "repoquery", code=1).has("rejected by policy").has(f"{POLICY}, default: rejects")
        assert registry.blobs() == []
        dnf("clean", "all")
        refused(dnf, f"Running image docker://{pushed} is rejected by policy.", "default")
    served(dnf)
    POLICY.write_text("{")
    result = dnf("--refresh", "repoquery", code=1)
    result.has(f'invalid policy in "{POLICY}"').has("containers-policy.json(5)")
    POLICY.unlink()
    dnf("--refresh", "repoquery", code=1).has("no policy.json file found").has(str(POLICY))


def test_cached_metadata_cost_no_request_and_packages_obey(dnf, registry, pushed):
    dnf("repoquery").has("one-0:1-1.noarch")
    policy({}, default=NOTHING)
    registry.clear()
    dnf("repoquery").has("one-0:1-1.noarch")
    assert registry.requests() == [], "as over HTTP"
    dnf("-y", "install", "one", code=1).has("rejected by policy").has(f"{POLICY}, default")
    assert registry.blobs() == []
    assert not [name for name in dnf.cached("tools") if name.startswith("packages/")]
    run("rpm", "-q", "one", code=1)


def test_a_change_of_registries_d_is_seen(dnf, registry, pushed, acme):
    acme.sign_with_gpg(pushed)
    policy({f"{registry.address}/acme": acme.require_gpg()})
    served(dnf)
    registries_d(registry.address, lookaside="file:///srv/elsewhere")
    result = dnf("--refresh", "repoquery", code=1)
    result.has("A signature was required, but no signature exists")
    registries_d(registry.address, lookaside="[")
    result = dnf("--refresh", "repoquery", code=1)
    result.has(f"parsing {REGISTRIES_D}/test.yaml").has("registries.d(5)")
    # An earlier name.
    registries_d(registry.address, sigstore=f"file://{LOOKASIDE}")
    served(dnf)


def test_a_users_own_policy(pushed):
    # skopeo also ignores XDG_CONFIG_HOME here and uses HOME.
    home = Path("/tmp/home-of-somebody")
    for config, requirement in ((".config", NOTHING), ("xdg", ANYTHING)):
        directory = home / config / "containers"
        directory.mkdir(parents=True)
        (directory / "policy.json").write_text(json.dumps({"default": [requirement]}))
    run("chown", "-R", "nobody", home)
    user = ["setpriv", "--reuid=nobody", "--clear-groups", "env", f"HOME={home}",
            f"XDG_CONFIG_HOME={home}/xdg", f"XDG_RUNTIME_DIR={home}"]
    reason = f"Running image docker://{pushed} is rejected by policy"
    run(*user, "skopeo", "copy", "--quiet", f"docker://{pushed}", f"dir:{home}/copied",
        code=1).tells(reason)
    result = run(*user, "dnf5", "repoquery", code=1).has_not("one-0:1-1.noarch")
    result.tells(f"{reason}; {home}/.config/containers/policy.json, default: rejects everything")
    shutil.rmtree(home)


def call(method, signature, *arguments, code):
    """Calls a method without options."""
    return run("busctl", "call", "--json=short", "io.github.dnf5_oci", "/io/github/dnf5_oci",
               "io.github.dnf5_oci.Backend1", method, signature, *arguments, 0, code=code)


def prefetch(reference, code=0):
    return call("PrefetchRepodata", "sssa{sv}", "tools", f"oci://{reference}",
                CACHE / "prefetched", code=code)


def fetch(reference, package, code=0):
    checksum = run("sha256sum", package).output.split()[0]
    return call("FetchPackage", "sssssta{sv}", "tools", f"oci://{reference}", CACHE / "prefetched",
                package.name, f"sha256:{checksum}", package.stat().st_size, code=code)


def test_what_was_accepted_is_not_fetched_once_the_key_is_another(pushed, acme, other):
    # Not in /etc/containers: only the policy has the path.
    key = Path("/etc/pki/the-key.gpg")
    key.parent.mkdir(exist_ok=True)
    shutil.copy(acme.gpg, key)
    acme.sign_with_gpg(pushed)
    policy({scope(pushed): acme.require_gpg() | {"keyPath": str(key)}})
    prefetch(pushed).has("fetched")
    shutil.copy(other.gpg, key)
    result = fetch(pushed, build("one"), code=1)
    result.has("Invalid GPG signature: made with the key ").has(f"requires a GPG signature by {key}")
    assert not list((CACHE / "prefetched").rglob("*.rpm"))
    shutil.copy(acme.gpg, key)
    fetch(pushed, build("one")).has("/packages/one-1-1.noarch.rpm")


def test_a_pinned_digest_costs_no_request_until_the_policy_has_changed(
        registry, repository, pushed):
    pinned = f"{scope(pushed)}@{repository.push(pushed)}"
    original = POLICY.read_text()
    prefetch(pinned).has('"fetched"')
    registry.clear()
    prefetch(pinned).has('"unchanged"')
    assert registry.requests() == []
    policy({}, default=NOTHING)
    prefetch(pinned, code=1).has("rejected by policy")
    POLICY.write_text(original)
    registry.clear()
    prefetch(pinned).has('"unchanged"')
    assert len(registry.manifests()) == 1
    registry.clear()
    prefetch(pinned).has('"unchanged"')
    assert registry.requests() == []


def recipe():
    """The guide's blocks of commands, and its files by their names."""
    commands, files, before = [], {}, ""
    for paragraph in GUIDE.read_text().split("\n\n"):
        if paragraph.startswith("    "):
            text = textwrap.dedent(paragraph)
            name = re.match(r"`(/etc/\S+)` ", before)
            if name:
                files[Path(name[1])] = text
            else:
                commands.append(text)
        before = paragraph
    return commands, files


@pytest.mark.parametrize("program", ["skopeo", "cosign", "gpg"])
def test_the_guides_recipe(dnf, registry, repository, acme, tmp_path, monkeypatch, program):
    def here(text):
        text = text.replace("quay.io/acme/", f"{registry.address}/acme/{dnf.name}-")
        text = text.replace("quay.io/", f"{registry.address}/")
        return text.replace("https://acme.example/signatures", f"file://{LOOKASIDE}").replace(
            "file:///srv/signatures", f"file://{LOOKASIDE}")

    name = {"skopeo": "rpms", "cosign": "rpms", "gpg": "more"}[program]
    reference = here(f"quay.io/acme/{name}:stable")
    repository.push(reference)
    dnf.add("tools", f"oci://{reference}")
    commands, files = recipe()
    (REGISTRIES_D / "test.yaml").unlink()
    original = POLICY.read_text()
    for file, text in files.items():
        file.write_text(here(text))
    refused(dnf, "A signature was required, but no signature exists", f'scope "{scope(reference)}"')

    POLICY.write_text(original)
    monkeypatch.chdir(tmp_path)
    Path("passphrase").write_text("secret\n")
    monkeypatch.setenv("COSIGN_PASSWORD", "secret")
    run("gpg", "--batch", "--quiet", "--passphrase", "", "--quick-generate-key",
        "release@acme.example", code=None)
    [makes_keys] = [block for block in commands if "generate-sigstore-key" in block]
    [signs] = [block for block in commands if block.startswith(program) and block != makes_keys]
    for block in (makes_keys, signs):
        run("sh", "-exc", here(block))
    Path("/etc/pki/containers").mkdir(parents=True, exist_ok=True)
    for key in tmp_path.glob("acme.[pg][up][bg]"):
        shutil.copy(key, "/etc/pki/containers")
    POLICY.write_text(here(files[POLICY]))
    served(dnf)
