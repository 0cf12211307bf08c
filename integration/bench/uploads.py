"""Rows about publishing: what dnf5-oci, oras and skopeo take to push the same packages."""

import itertools
import json
import statistics
from pathlib import Path

from harness.commands import run
from harness.publishing import many, numbered
from harness.repository import Repository
from servers import NEAR
from usage import PeakMemory

# As many skopeo processes as dnf5-oci starts.
SIDE_BY_SIDE = 8

HEAD = ["", "dnf5-oci", "oras", "to oras", "skopeo", "to skopeo", "requests", "memory"]

NUMBERS = itertools.count()


def requests(servers):
    return len(servers.registry.requests())


class Publish:
    """`dnf5-oci publish` of packages that the registry does not have, beside `oras push` of the same files and
    beside skopeo, which copies the manifests that dnf5-oci has made."""

    def __init__(self, name, count, size):
        self.name = name
        self.count = count
        self.size = size
        self.seconds = {"dnf5-oci": [], "oras": [], "skopeo": []}

    def measure(self, servers, clients, runs):
        repository = Repository(servers.directory / f"packages-{self.count}")
        for package in many(numbered(self.count, "bench"), size=self.size):
            (repository.directory / package.name).symlink_to(package)
        repository.createrepo()
        layout = self.layout(servers, repository)
        ways = {
            "dnf5-oci": lambda target: ["dnf5-oci", "publish", "--quiet", repository.directory, target],
            "oras": lambda target: ["sh", "-c", 'cd "$1" && shift && exec oras push --plain-http "$@" repodata/* *.rpm',
                                    "sh", repository.directory, target],
            "skopeo": layout.push,
        }
        # The first run of each is not timed.
        for number in range(runs + 1):
            for name, command in ways.items():
                # A repository that has no blob yet.
                target = NEAR.reference(f"upload-{next(NUMBERS)}")
                servers.registry.clear()
                if number:
                    self.seconds[name].append(clients.run(*command(target)).elapsed)
                elif name == "dnf5-oci":
                    with PeakMemory(clients) as self.memory:
                        clients.run(*command(target))
                    self.requests = requests(servers)

    def layout(self, servers, repository):
        target = NEAR.reference(f"upload-{next(NUMBERS)}")
        run("dnf5-oci", "publish", "--quiet", repository.directory, target, timeout=600)
        directory = servers.directory / f"layout-{self.count}"
        run("skopeo", "copy", "--quiet", "--all", "--preserve-digests", f"docker://{target}", f"oci:{directory}:top",
            timeout=600)
        return Layout(directory)

    def cells(self):
        median = {name: statistics.median(seconds) for name, seconds in self.seconds.items()}
        ours = median["dnf5-oci"]
        memory = sum(self.memory.get(program, 0) for program in ("dnf5-oci", "skopeo"))
        return [f"{ours:.2f} s", f"{median['oras']:.2f} s", f"{ours / median['oras']:.2f}", f"{median['skopeo']:.2f} s",
                f"{ours / median['skopeo']:.2f}", str(self.requests), f"{memory / 1e6:.0f} MB"]


class Layout:
    """A local layout, each of whose manifests has its digest as its name."""

    def __init__(self, directory):
        self.directory = Path(directory)
        path = self.directory / "index.json"
        index = json.loads(path.read_text())
        [self.top] = [entry["digest"].removeprefix("sha256:") for entry in index["manifests"]]
        self.parts = json.loads((self.directory / "blobs/sha256" / self.top).read_text()).get("manifests", [])
        for entry in self.parts:
            name = entry["digest"].removeprefix("sha256:")
            named = {"org.opencontainers.image.ref.name": name}
            plain = {key: entry[key] for key in ("mediaType", "digest", "size")}
            index["manifests"].append(plain | {"annotations": named})
        path.write_text(json.dumps(index))

    def push(self, target):
        """The command that pushes it: the parts side by side, and the index at last."""
        names = " ".join(entry["digest"].removeprefix("sha256:") for entry in self.parts)
        copy = f"skopeo copy --quiet --preserve-digests oci:{self.directory}"
        repository = target.rpartition(":")[0]
        return ["sh", "-ec", f"printf '%s\\n' {names} | xargs -P {SIDE_BY_SIDE} -I NAME "
                             f"{copy}:NAME docker://{repository}@sha256:NAME\n"
                             f"{copy}:top --multi-arch=index-only docker://{target}"]


class Update:
    """`dnf5-oci add` of some packages to a repository of many. oras and skopeo cannot do that without the others."""

    def __init__(self, name, repository, count):
        self.name = name
        self.repository = repository
        self.count = count
        self.seconds = []

    def measure(self, servers, clients, runs):
        servers.publish(self.repository)
        target = NEAR.reference(self.repository, "published")
        for number in range(runs):
            packages = many(numbered(self.count, "update"), version=f"{number + 1}", size=20_000)
            servers.registry.clear()
            with PeakMemory(clients) as self.memory:
                self.seconds.append(clients.run("dnf5-oci", "add", "--quiet", target, *packages).elapsed)
            self.requests = requests(servers)

    def cells(self):
        memory = sum(self.memory.get(program, 0) for program in ("dnf5-oci", "skopeo"))
        seconds = statistics.median(self.seconds)
        return [f"{seconds:.2f} s", "", "", "", "", str(self.requests), f"{memory / 1e6:.0f} MB"]
