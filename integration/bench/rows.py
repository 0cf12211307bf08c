"""The two kinds of rows in the tables: how their runs are made, and how their figures are shown."""

import statistics

from usage import PeakMemory, Usage
from ways import CACHE, Floor, clear_cache, end_service, http, oci


def medians(usages):
    """The median Usage of each way."""
    return {
        way: Usage(*(statistics.median(getattr(usage, figure) for usage in measured)
                     for figure in ("elapsed", "processor")))
        for way, measured in usages.items()
    }


class Fetching:
    """A command that fetches something. The target is a ratio to HTTP.

    repository, layout, far  what is fetched, and from which registry
    command                  the arguments of dnf5
    packages                 how many packages must be in the cache then
    before                   a command that is run before, and not timed
    """

    def __init__(self, name, target, repository, command, packages=0, layout="archive", far=False, before=()):
        self.name = name
        self.target = target
        self.repository = repository
        self.command = command
        self.packages = packages
        self.layout = layout
        self.far = far
        self.before = before
        self.usage = {}
        self.memory = {}

    def ways(self, servers, build, base):
        reference = servers.reference(self.repository, self.layout, self.far)
        ways = {
            "http": http(servers.url(self.repository, self.far), build),
            "on demand": oci(reference, build),
            "eager": oci(reference, build, fetch="eager"),
            "floor": Floor(reference),
        }
        if base:
            ways["base"] = oci(reference, base)
        return ways

    def measure(self, servers, clients, runs, build, base):
        """Every run begins without a cache and without a service. The first run of each way is not
        timed; its memory is sampled instead."""
        ways = self.ways(servers, build, base)
        usages = {way: [] for way in ways}
        for number in range(runs + 1):
            for name, way in ways.items():
                clear_cache()
                way.prepare()
                if self.before:
                    clients.run(*way.command(*self.before))
                servers.registry.clear()
                command = way.command(*self.command)
                if number == 0:
                    with PeakMemory(clients) as self.memory[name]:
                        clients.run(*command)
                else:
                    usages[name].append(clients.run(*command))
                if name == "on demand":
                    ways["floor"].blobs = list(dict.fromkeys(servers.registry.blobs()))
                if name != "floor":
                    self.check()
        self.usage = medians(usages)

    def check(self):
        """Fails unless the cache holds what was to be fetched."""
        [cache] = CACHE.glob("bench-*")
        assert (cache / "repodata/repomd.xml").exists()
        found = len(list(cache.glob("packages/*.rpm")))
        assert found == self.packages, f"{found} packages in the cache, expected {self.packages}"

    def times(self):
        elapsed = {way: usage.elapsed for way, usage in self.usage.items()}
        seconds = lambda way: f"{elapsed[way]:.2f} s"
        ratio = lambda way, to: f"{elapsed[way] / elapsed[to]:.2f}"
        cells = [seconds("http"), seconds("on demand"), ratio("on demand", "http"),
                 f"{self.target:.2f}", seconds("eager"), ratio("eager", "http"),
                 seconds("floor"), ratio("on demand", "floor")]
        if "base" in elapsed:
            cells += [seconds("base"), ratio("on demand", "base")]
        return cells

    def resources(self):
        cells = [f"{self.usage[way].processor:.2f} s"
                 for way in ("http", "on demand", "eager", "floor")]
        memory = lambda way: [f"{self.memory[way].get(program, 0) / 1_000_000:.0f} MB"
                              for program in ("dnf5-oci", "skopeo")]
        cells += memory("on demand")
        if "base" in self.usage:
            cells += [f"{self.usage['base'].processor:.2f} s", *memory("base")]
        return cells


class Cached:
    """A command that finds everything in the cache. The target is a difference in seconds to dnf5
    without the plugin.

    cold            whether the service is to be started
    plugin_options  what is set in oci.conf
    """

    COMMAND = ["repoquery", "--available"]
    repository = "large"

    # These take milliseconds: chance weighs more, and more runs cost little.
    MORE_RUNS = 4

    def __init__(self, name, target, cold=True, **plugin_options):
        self.name = name
        self.target = target
        self.cold = cold
        self.plugin_options = plugin_options
        self.usage = {}

    def ways(self, servers, build, base):
        reference = servers.reference(self.repository)
        options = self.plugin_options
        ways = {
            # The URL that the plugin makes of the reference, so that the cache is the same.
            "http": http(f"http://dnf5-oci.alt/{reference}", build),
            "on demand": oci(reference, build, **options),
            "eager": oci(reference, build, fetch="eager", **options),
        }
        if base:
            # The builds may differ in what they cache.
            ways["base"] = oci(servers.tag(self.repository, "base"), base, **options)
        return ways

    def measure(self, servers, clients, runs, build, base):
        ways = self.ways(servers, build, base)
        usages = {way: [] for way in ways}
        clear_cache()
        for name, way in ways.items():
            if name != "http":
                end_service()
                way.prepare()
                clients.run(*way.command("makecache"))
        for _ in range(runs * self.MORE_RUNS):
            for name, way in ways.items():
                end_service()
                way.prepare()
                command = way.command(*self.COMMAND)
                if not self.cold:
                    clients.run(*command)
                usages[name].append(clients.run(*command))
        self.usage = medians(usages)

    def times(self):
        elapsed = {way: usage.elapsed for way, usage in self.usage.items()}
        seconds = lambda way: f"{elapsed[way]:.3f} s"
        milliseconds = lambda difference: f"{difference * 1000:+.0f} ms"
        more = lambda way, than: milliseconds(elapsed[way] - elapsed[than])
        cells = [seconds("http"), seconds("on demand"), more("on demand", "http"),
                 milliseconds(self.target), seconds("eager"), more("eager", "http"), "", ""]
        if "base" in elapsed:
            cells += [seconds("base"), more("on demand", "base")]
        return cells

    def resources(self):
        cells = [f"{self.usage[way].processor:.3f} s" for way in ("http", "on demand", "eager")]
        cells += ["", "", ""]
        if "base" in self.usage:
            cells += [f"{self.usage['base'].processor:.3f} s", "", ""]
        return cells
