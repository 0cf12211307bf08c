"""The kinds of rows in the table: how their runs are made, and how their figures are shown."""

import statistics
from dataclasses import dataclass, field

from servers import NEAR
from usage import PeakMemory
from ways import clear_cache, end_service, ways

HEAD = ["", "way", "time", "oci to it", "goal", "processor", "memory", "manifests"]


@dataclass
class Figures:
    """The measurements of one way: the Usage of each timed run and the number of manifests that it requested; the
    peak memory of each program in a run that is not timed."""

    usages: list = field(default_factory=list)
    manifests: list = field(default_factory=list)
    memory: dict = field(default_factory=dict)

    @property
    def elapsed(self):
        return statistics.median(usage.elapsed for usage in self.usages)

    @property
    def processor(self):
        return statistics.median(usage.processor for usage in self.usages)


class Row:
    """Something that is done in several ways. In the table, each has a line.

    repository  what is fetched
    goals       what "oci" is compared with: the name of a way, or of several with " + " between them, whose times
                are added; and the goal of that comparison, or None
    """

    def __init__(self, name, repository, goals):
        self.name = name
        self.repository = repository
        self.goals = goals
        self.figures = {}

    def select(self, found):
        """Those of the ways that this row has."""
        names = ["oci", *(name for names in self.goals for name in names.split(" + ")), "base"]
        selected = {name: found[name] for name in dict.fromkeys(names) if name in found}
        self.figures = {name: Figures() for name in selected}
        self.programs = {name: way.programs for name, way in selected.items()}
        return selected

    def elapsed(self, names):
        return sum(self.figures[name].elapsed for name in names.split(" + "))

    def lines(self):
        """The cells of each line."""
        for way in dict.fromkeys([*self.figures, *self.goals]):
            goal = self.goals.get(way)
            yield [self.name if way == "oci" else "",
                   way,
                   seconds(self.elapsed(way)),
                   "" if way == "oci" else self.comparison(self.elapsed("oci"), self.elapsed(way)),
                   "" if goal is None else self.goal(goal),
                   *self.resources(way)]

    def resources(self, way):
        if way not in self.figures:
            return ["", "", ""]
        figures, programs = self.figures[way], self.programs[way]
        memory = " + ".join(f"{figures.memory.get(program, 0) / 1e6:.0f}" for program in programs if figures.memory)
        manifests = str(statistics.median_high(figures.manifests)) if programs and figures.manifests else ""
        return [seconds(figures.processor), memory and f"{memory} MB", manifests]


class Fetching(Row):
    """A command that fetches something. Every run begins without a cache and without a service. Goals are ratios.

    command   the arguments of dnf5
    packages  how many packages must be in the cache then
    place     where the servers are
    layout    in which layout the registry has the repository
    before    a command that is run before, and not timed
    """

    def __init__(self, name, repository, command, packages, goals, place=NEAR, layout="archive", before=()):
        super().__init__(name, repository, goals)
        self.command = command
        self.packages = packages
        self.place = place
        self.layout = layout
        self.before = before

    def measure(self, servers, clients, runs, build, base):
        """The first run of each way is not timed; its memory is sampled instead."""
        place, registry = self.place, servers.registry_at(self.place)
        selected = self.select(ways(place.url(self.repository), place.reference(self.repository, self.layout),
                                    place.proxies, build, base))
        for number in range(runs + 1):
            for name, way in selected.items():
                figures = self.figures[name]
                self.prepare(way, clients)
                registry.clear()
                if number == 0:
                    with PeakMemory(clients) as figures.memory:
                        self.run(way, clients)
                else:
                    figures.usages.append(self.run(way, clients))
                    figures.manifests.append(len(registry.manifests()))
                if name == "oci" and "floor" in selected:
                    selected["floor"].blobs = list(dict.fromkeys(registry.blobs()))
                way.check(self.packages)

    def prepare(self, way, clients):
        clear_cache()
        way.prepare()
        if self.before:
            clients.run(*way.command(*self.before))

    def run(self, way, clients):
        return clients.run(*way.command(*self.command))

    @staticmethod
    def comparison(ours, other):
        return f"{ours / other:.2f}"

    @staticmethod
    def goal(goal):
        return f"{goal:.2f}"


class Answering(Fetching):
    """A command that asks. Its metadata is cached, and its time counts from the answer to the end.

    reading  how many seconds pass between the question and the answer
    cold     whether the service is to be started; it has fetched the metadata otherwise
    """

    def __init__(self, *arguments, reading=2, cold=True, **options):
        super().__init__(*arguments, before=["makecache"], **options)
        self.reading = reading
        self.cold = cold

    def prepare(self, way, clients):
        super().prepare(way, clients)
        if self.cold:
            end_service()

    def run(self, way, clients):
        return clients.answer(self.reading, *way.command(*self.command))


class Cached(Row):
    """A command that finds everything in the cache. Goals are differences in seconds.

    cold            whether the service is to be started
    plugin_options  what is set in oci.conf
    """

    COMMAND = ["repoquery", "--available"]

    # These take milliseconds: chance weighs more, and more runs cost little.
    MORE_RUNS = 4

    def __init__(self, name, goals, cold=True, **plugin_options):
        super().__init__(name, "large", goals)
        self.cold = cold
        self.plugin_options = plugin_options

    def measure(self, servers, clients, runs, build, base):
        reference = NEAR.reference(self.repository)
        # HTTP has the URL that the plugin makes of the reference, so that the cache is the same.
        found = ways(f"http://dnf5-oci.alt/{reference}", reference, NEAR.proxies, build, **self.plugin_options)
        if base:
            # The builds may differ in what they cache.
            other = servers.tag(self.repository, "base")
            found["base"] = ways("", other, NEAR.proxies, base, **self.plugin_options)["oci"]
        selected = self.select(found)
        clear_cache()
        for name, way in selected.items():
            if name != "http":
                end_service()
                way.prepare()
                clients.run(*way.command("makecache"))
        for _ in range(runs * self.MORE_RUNS):
            for name, way in selected.items():
                end_service()
                way.prepare()
                command = way.command(*self.COMMAND)
                if not self.cold:
                    clients.run(*command)
                self.figures[name].usages.append(clients.run(*command))

    @staticmethod
    def comparison(ours, other):
        return milliseconds(ours - other)

    @staticmethod
    def goal(goal):
        return milliseconds(goal)


def seconds(time):
    return f"{time:.2f} s" if time >= 1 else f"{time * 1000:.0f} ms"


def milliseconds(difference):
    return f"{difference * 1000:+.0f} ms"
