"""Packages that turn out to be unavailable after dnf5 has decided to install them."""

import json

import pytest

from harness.commands import run
from harness.faulty import flipped
from harness.repository import build

DOWNLOAD = ("-y", "install", "--downloadonly", "one", "two")
ONE = "one-1-1.noarch.rpm"
TITLE = "org.opencontainers.image.title"


@pytest.fixture(params=["flat", "directory", "files", "blobs"])
def blob(dnf, registry, request, fetch):
    """A repository in each layout, whose metadata is cached; returns the registry's file with the blob of
    a package."""
    below = "" if request.param == "flat" else "Packages"
    # An equal layer of another test would already be unpacked.
    one, two = (build(name, content=dnf.name) for name in ("one", "two"))
    repository = dnf.repository().add(one, below).add(two, below).createrepo()
    reference = dnf.reference(registry)
    dnf.add("tools", f"oci://{reference}")
    package = repository.directory / below / ONE
    if request.param == "files":
        repository.push_files(reference)
    elif request.param == "blobs":
        repository.push(reference, "repodata")
        for file in package.parent.iterdir():
            run("oras", "blob", "push", "--plain-http", reference.rsplit(":", 1)[0], file)
    else:
        repository.push(reference)
    dnf("makecache")
    manifest = json.loads(run("oras", "manifest", "fetch", "--plain-http", reference).output)
    layers = {layer["annotations"][TITLE]: layer["digest"] for layer in manifest["layers"]}
    digest = layers.get("Packages") or "sha256:" + run("sha256sum", package).output.split()[0]
    algorithm, value = digest.split(":")
    directory = registry.directory / "data/docker/registry/v2/blobs" / algorithm
    return directory / value[:2] / value / "data"


@pytest.mark.parametrize("change", ["lost", "changed"])
def test_a_blob_that_the_registry_has_lost_or_changed(dnf, registry, blob, change, request, fetch):
    listed = "blobs" not in request.node.name
    content = blob.read_bytes()
    if change == "lost":
        blob.unlink()
    else:
        # In the middle, because the last bytes of a layer may not be read.
        blob.write_bytes(flipped(content))
    registry.clear()
    try:
        result = dnf(*DOWNLOAD, code=1).has("Failed to download packages")
    finally:
        blob.write_bytes(content)
    [line] = [line for line in result.output.splitlines() if "repository tools oci://" in line]
    if change == "lost" and listed:
        assert f"the registry does not have sha256:{blob.parent.name[:12]}" in line, result
    # The service cannot know whether a blob without a manifest was ever pushed.
    unlisted = change == "lost" and not listed
    assert ("have its owner push the package" if unlisted else "owner") in line, result
    digest = f"sha256:{blob.parent.name}"
    asked = [path for _, path, _ in registry.requests() if path.endswith(digest)]
    # librepo tries four times, as at a web server. A head start repeats only what came with wrong bytes.
    ahead = 0 if fetch != "eager" else 1 if change == "lost" else 4
    # The other package of the layer may ask once more before the head start is given up.
    also = int(ahead == 1 and listed)
    assert ahead + 4 <= len(asked) <= ahead + 4 + also
    assert len(dnf.failed_head_starts()) == (1 if fetch == "eager" else 0)
    # dnf5 keeps what it has of a transfer that was cut, and never all of it.
    kept = dnf.cache("tools") / "packages" / ONE
    assert not kept.exists() or kept.stat().st_size < build("one", content=dnf.name).stat().st_size
    # Nothing remembers the failure.
    dnf(*DOWNLOAD).has("Complete!")
