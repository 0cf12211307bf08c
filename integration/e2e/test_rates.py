"""Registries that limit requests or do not answer, and many repositories at once."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from conftest import CONTAINERS, REPOS
from harness.commands import processes, run, wait_until
from harness.faults import Cell, Suite, download
from harness.faulty import Fault, Faulty
from harness.repository import build

SKOPEO = ("skopeo", "experimental-image-proxy")

# The defaults of the settings "total-processes" and "processes".
TOTAL, EACH = 24, 20


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    return Suite(tmp_path_factory.mktemp("limits"))


@pytest.fixture(scope="module")
def limited(suite):
    """Runs with 429 and Retry-After, by request, seconds and how often; side by side, since they wait."""
    cases = {
        ("package", 5, 1): 120, ("package", 45, 1): 120, ("directory", 45, 1): 120,
        ("index", 5, 1): 120, ("index", 60, None): 120, ("package", 60, None): 120,
    }

    def one(case):
        request, delay, times = case
        layout = "directory" if request == "directory" else "files"
        cell = Cell("oci", request, f"429-retry-{delay}", times)
        fault = Fault("429-retry", request, times, delay)
        server = Faulty(suite.repositories[layout], layout, fault)
        try:
            # Shorter than any of the pauses.
            return suite.outcome(cell, server, {"timeout": 4})
        finally:
            server.stop()

    with ThreadPoolExecutor(len(cases)) as pool:
        return dict(zip(cases, pool.map(one, cases), strict=True))


@pytest.mark.parametrize(("request_", "delay"), [("package", 5), ("package", 45), ("directory", 45), ("index", 5)])
def test_a_limit_is_waited_for(limited, request_, delay):
    outcome = limited[request_, delay, 1]
    assert outcome.code == 0, outcome
    assert outcome.seconds >= delay, outcome
    assert outcome.lines == [], outcome
    assert outcome.requests[request_] == 2, "it is not asked again in the meantime"


@pytest.mark.parametrize("request_", ["index", "package"])
def test_a_limit_without_end_is_reported_within_two_minutes(limited, request_):
    outcome = limited[request_, 60, None]
    assert outcome.code == 1, outcome
    assert outcome.seconds < 120, outcome
    [line] = outcome.lines
    assert "the registry limits requests: " in line, outcome
    assert 'log in with "podman login", which raises the limit' in line, outcome
    assert outcome.requests[request_] == 2, outcome.requests


@pytest.fixture
def mirrored(suite):
    """A registry with a mirror before it that accepts connections and answers nothing."""
    mirror = Faulty(suite.repositories["files"], fault=Fault("silence", "ping"))
    server = Faulty(suite.repositories["files"])
    conf = CONTAINERS / "registries.conf.d/silent.conf"
    conf.parent.mkdir(parents=True, exist_ok=True)
    conf.write_text(
        f'[[registry]]\nlocation = "localhost:{server.port}"\ninsecure = true\n'
        f'[[registry.mirror]]\nlocation = "localhost:{mirror.port}"\ninsecure = true\n')
    yield mirror, server
    conf.unlink()
    for running in (mirror, server):
        running.stop()


def test_a_silent_mirror_is_passed_over(mirrored, tmp_path):
    mirror, server = mirrored
    result = download(tmp_path / "run", f"oci://{server.reference}", "one", timeout=3)
    assert result.returncode == 0, result.stdout
    assert mirror.count("ping") == 1, "no further process asks it"
    assert server.count("package") == 1


def test_a_package_that_comes_slowly_may_do_so(suite, tmp_path):
    fault = Fault("drip", "metadata")
    server = Faulty(suite.repositories["files"], fault=fault)
    result = download(tmp_path / "run", f"oci://{server.reference}", "one", timeout=3, minrate=1)
    assert result.returncode == 0, result.stdout
    assert server.count("metadata") == 1
    server.stop()


def test_few_packages_cost_one_request_for_the_manifest(dnf, registry):
    repository = dnf.repository()
    names = [f"few-{number}" for number in range(20)]
    for name in names:
        repository.add(build(name))
    repository.createrepo().push(dnf.reference(registry))
    dnf.add("tools", f"oci://{dnf.reference(registry)}")
    dnf("makecache")
    # The service keeps an idle process, which would need no other one.
    run("systemctl", "stop", "dnf5-oci")
    registry.clear()
    dnf("-y", "install", "--downloadonly", *names).has("Complete!")
    assert len(registry.blobs()) == len(names)
    manifests = [path for method, path, _ in registry.manifests() if method == "GET"]
    # A slow machine may take another one.
    assert len(manifests) <= 4, manifests


def test_many_repositories_at_once(dnf, registry):
    many = 30
    for number in range(many):
        repository = dnf.repository(f"repository-{number}").add(build(f"many-{number}")).createrepo()
        repository.push(dnf.reference(registry, tag=f"{number}"))
        dnf.add(f"tools-{number}", f"oci://{dnf.reference(registry, tag=f'{number}')}")
    assert len(list(REPOS.iterdir())) == many
    most = 0
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(dnf, "makecache", code=None)
        while not running.done():
            most = max(most, len(processes(*SKOPEO)))
            time.sleep(0.02)
    assert running.result().code == 0, running.result()
    # One that was killed for another may not have ended yet.
    assert 1 < most <= TOTAL + 2, most
    wait_until(lambda: len(processes(*SKOPEO)) <= TOTAL, "none is left over")
    dnf("repoquery").has("many-29-0:1-1.noarch")
    names = [f"many-{number}" for number in range(many)]
    dnf("-y", "install", "--downloadonly", *names).has("Complete!")
