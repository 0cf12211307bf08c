"""The same repository on a web server and in a registry.

A scenario runs with each of them, from the same state: dnf5's output, exit codes and requests must be
the same.
"""

import os
import re
import shutil
import time
from pathlib import Path

from .commands import run
from .lines import as_text, normalize, split_output

# dnf5's records of packages and groups.
STATE = Path("/usr/lib/sysimage/libdnf5")


class OverHttp:
    """A repository on a web server."""

    has_service = False

    def __init__(self, web, name):
        self.web = web
        self.directory = web.directory / name
        self.url = f"{web.url}/{name}"

    def publish(self, repository):
        """Publishes a repository, replacing the previous one."""
        shutil.rmtree(self.directory, ignore_errors=True)
        shutil.copytree(repository.directory, self.directory)

    def clear(self):
        self.web.clear()

    def requested(self):
        """What dnf5 has requested since clear(), sorted."""
        return sorted(self.web.requested(self.directory.name))

    def down(self):
        self.web.stop()

    def up(self):
        self.web.start()

    def restart(self):
        """Restarts the server that dnf5 talks to."""
        self.down()
        self.up()


class OverOci:
    """A repository in a registry, with a layer for each file ("files") or each directory ("dirs")."""

    has_service = True

    def __init__(self, registry, service, name, layout, fetch="on-demand"):
        self.registry = registry
        self.service = service
        self.layout = layout
        self.fetch = fetch
        self.reference = f"{registry.address}/acme/{name}:{layout}"
        self.url = f"oci://{self.reference}"

    def publish(self, repository):
        push = repository.push_files if self.layout == "files" else repository.push
        push(self.reference)

    def clear(self):
        self.service.clear()
        self.registry.clear()

    def requested(self):
        """As above. On demand the registry is asked exactly when dnf5 asks the service, and for metadata at
        least for the manifest."""
        asked = sorted(self.service.requested())
        if self.fetch == "on-demand":
            requests = self.registry.requests()
            # The manifest of cached metadata may still be known: then a package alone is asked for.
            only_packages = bool(asked) and all(name.endswith(".rpm") for name in asked)
            assert only_packages or bool(requests) == bool(self.registry.manifests()), requests
            if self.registry.process:
                assert bool(requests) == bool(asked), f"{asked}, but {requests}"
        return asked

    def down(self):
        self.registry.stop()

    def up(self):
        self.registry.start()

    def restart(self):
        self.service.stop()
        self.service.start()


class Machine:
    """A machine that has never used the repository, and a transcript of what happens on it."""

    def __init__(self, side, cache, repos):
        self.side = side
        self.cache = cache
        self.repos = repos
        self.transcript = []
        for stale in (cache, repos, STATE):
            shutil.rmtree(stale, ignore_errors=True)
            stale.mkdir(parents=True)

    def add(self, repo_id="tools", url=None, **options):
        """Writes a .repo file."""
        lines = [f"[{repo_id}]", f"name={repo_id}", f"baseurl={url or self.side.url}"]
        lines += [f"{key}={value}" for key, value in options.items()]
        file = self.repos / f"{repo_id}.repo"
        file.write_text("\n".join(lines) + "\n")
        # Metadata older than the file is expired, which most scenarios do not want.
        os.utime(file, (0, 0))

    def dnf(self, *arguments, ours=(), **options):
        """Runs dnf5 and records its output and its requests.

        ours  expressions that match our own lines, which do not exist for a web server
        """
        self.side.clear()
        result = run("dnf5", *arguments, code=None, **options)
        theirs, found = split_output(result.output)
        expected = ours if self.side.has_service else ()
        assert len(found) == len(expected) and all(map(re.search, expected, found)), result
        self.record(as_text(arguments, result.code, *normalize(theirs, self.side.url)))
        self.record("requested: " + ", ".join(self.side.requested()))
        return result

    def age(self, seconds):
        """Sets the age of everything in the cache."""
        then = time.time() - seconds
        for path in self.cache.rglob("*"):
            os.utime(path, (then, then))

    def record_cache(self):
        """Records which files are cached, except dnf5's solv files."""
        names = (path.relative_to(self.cache).parts for path in self.cache.rglob("*") if path.is_file())
        self.record("cached: " + ", ".join(sorted("/".join(name[1:]) for name in names if "solv" not in name)))

    def record(self, text):
        self.transcript.append(text)

    def __str__(self):
        return "\n".join(self.transcript)
