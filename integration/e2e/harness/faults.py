"""Every request to a registry and every way in which it can fail, beside the same faults of a web server."""

import os
import re
import subprocess
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from .faulty import Fault, Faulty
from .repository import Repository, build

# The requests that can fail, and the file that is one on a web server.
REQUESTS = {
    "ping": None,
    "token": None,
    "index": None,
    "manifest": "repomd.xml",
    "metadata": "primary.xml.zst",
    "package": "one-1-1.noarch.rpm",
    "directory": None,
}

FAULTS = {
    "500": "HTTP 500",
    "502": "HTTP 502",
    "503": "HTTP 503",
    "429": "HTTP 429",
    "429-retry": "HTTP 429, Retry-After: 1",
    "401": "HTTP 401",
    "403": "HTTP 403",
    "404": "HTTP 404",
    "html": "200 with an HTML page",
    "loop": "redirected to itself",
    "reset": "connection reset",
    "cut": "cut in the middle",
    "silence": "no answer",
    "stall": "stops in the middle",
    "drip": "5 bytes per second",
    "flip": "one bit wrong",
    "length": "one byte too short",
}

# What waits until dnf5's timeout is over, and how long that is here, in seconds.
WAITING = ("silence", "stall", "drip")
TIMEOUT = 3

# How many dnf5 run side by side: most of them wait.
PARALLEL = 16

# Bounds on a run: in seconds, and on the requests of one kind.
SECONDS = 150
MANY = 10

# librepo's mark on a file that it has only the beginning of, and resumes.
UNFINISHED = "user.librepo.downloadinprogress"

# Part of the reason, by the fault and, where it differs, by the request.
REASONS = {
    "500": "received unexpected HTTP status: 500 Internal Server Error",
    "502": "received unexpected HTTP status: 502 Bad Gateway",
    "503": "received unexpected HTTP status: 503 Service Unavailable",
    "429": "the registry limits requests: ",
    "429-retry": "the registry limits requests: ",
    "401": "unauthorized: scripted 401",
    "403": "denied: scripted 403",
    ("token", "403"): "403 Forbidden",
    "404": "name unknown: scripted 404",
    ("token", "404"): "404 Not Found",
    "html": "ended early",
    ("token", "html"): "with a web page",
    ("index", "html"): "with a web page",
    ("manifest", "html"): "",
    "loop": "stopped after 10 redirects",
    "reset": "",
    "cut": "unexpected EOF",
    ("token", "cut"): "unexpected EOF",
    "silence": "timed out",
    "stall": "timed out",
    "drip": "timed out",
    "flip": "checksum mismatch",
    ("index", "flip"): "",
    ("manifest", "flip"): "",
    "length": "ended early",
    ("token", "length"): "unexpected end of JSON input",
    ("index", "length"): "",
    ("manifest", "length"): "",
}

# The body of the answer to a ping does not matter. Without its header, nobody logs in.
NO_LOGIN = ("html", "cut", "stall", "drip", "flip", "length")
HARMLESS = {("oci", "token", "flip"), ("http", "manifest", "length")}
# dnf5 does not repeat the request for a repomd.xml that came as the server sent it.
FATAL = {("http", "manifest", "html"), ("http", "manifest", "flip")}


class Cell(NamedTuple):
    """A run of dnf5 with one fault. `side` is oci or http; `times` is 1, or None forever."""

    side: str
    request: str
    fault: str
    times: int | None

    @property
    def name(self):
        return f"{self.side}-{self.request}-{self.fault}-{'once' if self.times else 'for-ever'}"

    @property
    def succeeds(self):
        kind = (self.side, self.request, self.fault)
        return kind in HARMLESS or (self.times == 1 and kind not in FATAL)

    @property
    def reason(self):
        """A part of our line, for a registry that fails forever."""
        if self.request == "ping" and self.fault in NO_LOGIN:
            return REASONS["401"]
        return REASONS.get((self.request, self.fault), REASONS.get(self.fault))


CELLS = [Cell(side, request, fault, times)
         for side in ("oci", "http") for request, file in REQUESTS.items()
         for fault in FAULTS for times in (1, None) if side == "oci" or file]


class Outcome:
    """What a run of dnf5 has led to. `fetched` is the content of each package that dnf5 takes for whole."""

    def __init__(self, cell, result, seconds, requests, fetched, package, cached):
        self.cell = cell
        self.code = result.returncode
        self.output = result.stdout
        self.seconds = seconds
        self.requests = requests
        self.fetched = fetched
        self.package = package
        self.cached = cached
        lines = re.findall(r"^(?:>>> )?repository tools oci://\S+: (.*)$", self.output, re.MULTILINE)
        self.lines = list(dict.fromkeys(lines))

    def __str__(self):
        return f"{self.cell.name}: exit code {self.code} after {self.seconds:.1f} s\n{self.output}"


class Suite:
    """Runs cells, each with a server and a dnf5 of its own."""

    def __init__(self, top):
        self.top = Path(top)
        self.built = build("one", size=200_000)
        self.repositories = {
            layout: Repository(self.top / layout).add(self.built, below).createrepo().directory
            for layout, below in (("files", ""), ("directory", "Packages"))
        }

    def run(self, cells=None):
        """The outcome of each cell."""
        cells = CELLS if cells is None else cells
        # Those that wait come first, so that none is left alone at the end.
        ordered = sorted(cells, key=lambda cell: (cell.fault not in (*WAITING, "429"), cell.times is not None))
        with ThreadPoolExecutor(PARALLEL) as pool:
            return dict(zip(ordered, pool.map(self.run_one, ordered), strict=True))

    def run_one(self, cell):
        layout = "directory" if cell.request == "directory" else "files"
        server = Faulty(self.repositories[layout], layout, Fault(cell.fault, cell.request, cell.times))
        options = {"timeout": TIMEOUT} if cell.fault in WAITING else {}
        try:
            return self.outcome(cell, server, options)
        finally:
            server.stop()

    def outcome(self, cell, server, options):
        url = server.url if cell.side == "http" else f"oci://{server.reference}"
        directory = self.top / cell.name
        begin = time.monotonic()
        result = download(directory, url, "one", **options)
        seconds = time.monotonic() - begin
        fetched = [path.read_bytes() for path in directory.glob("packages/*") if UNFINISHED not in os.listxattr(path)]
        cached = {path.name: path.read_bytes() for path in directory.glob("cache/*/repodata/*")}
        requests = {kind: server.count(kind) for kind in REQUESTS}
        return Outcome(cell, result, seconds, requests, fetched, self.built.read_bytes(), cached)

    def original(self, cell, name):
        """A file of the metadata as it was published."""
        layout = "directory" if cell.request == "directory" else "files"
        return (self.repositories[layout] / "repodata" / name).read_bytes()


def download(directory, url, *packages, **options):
    """Downloads packages with a cache, a configuration and a log of its own."""
    repos = directory / "repos"
    repos.mkdir(parents=True)
    lines = ["[tools]", "name=tools", f"baseurl={url}", "sslverify=0"]
    lines += [f"{key}={value}" for key, value in options.items()]
    (repos / "tools.repo").write_text("\n".join(lines) + "\n")
    return subprocess.run(
        ["dnf5", f"--setopt=reposdir={repos}", f"--setopt=cachedir={directory}/cache",
         f"--setopt=logdir={directory}", "download", f"--destdir={directory}/packages", *packages],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=2 * SECONDS, check=False,
    )


HEAD = f"""# Reliability

What `dnf5 download` does when a registry fails, and what it does when a plain web server fails in the
same way. Every cell is a test. "Once" means that the first request of that kind fails and the others
do not; "forever" that all of them fail.

In short:

- dnf5 recovers from every fault that happens once, wherever it recovers with a web server.
- A fault that stays ends the command, with one line that says what failed and what to do about it.
  Nothing incomplete or wrong is taken for whole. dnf5 may keep the beginning of a package, marked as
  unfinished, and goes on from there the next time; if that beginning was wrong, it fetches all of it again.
- A request is tried four times, as dnf5 does with a web server.
- `timeout` and `minrate` mean for the registry what they mean for a web server. Here `timeout={TIMEOUT}`
  is set for "no answer", "stops in the middle" and "5 bytes per second", so these take about four times
  {TIMEOUT} s.
- A registry that limits requests (HTTP 429) is waited for as long as it asks, for up to 100 s in total,
  and otherwise for 30 s.

`make reliability` writes this page. The seconds are those of one run on a busy machine.
"""

TITLES = {
    "ping": "The first request, `/v2/`",
    "token": "The token",
    "index": "The image index",
    "manifest": "The manifest; on the web server, `repomd.xml`",
    "metadata": "A metadata file",
    "package": "A package that is a layer; on the web server, a file",
    "directory": "A layer with a directory of packages",
}


def page(outcomes):
    """docs/reliability.md."""
    return "\n".join([HEAD, *(table(request, outcomes) for request in REQUESTS)])


def table(request, outcomes):
    has_http = REQUESTS[request] is not None
    head = ["fault", "once", "forever", "why"] + (["web server, once", "forever"] if has_http else [])
    lines = [f"## {TITLES[request]}", "", row(head), row(["---"] * len(head))]
    for fault, words in FAULTS.items():
        once, ever = (outcomes[Cell("oci", request, fault, times)] for times in (1, None))
        cells = [words, brief(once), brief(ever), f"`{why(ever)}`" if ever.lines else ""]
        if has_http:
            cells += [brief(outcomes[Cell("http", request, fault, times)]) for times in (1, None)]
        lines.append(row(cells))
    return "\n".join(lines) + "\n"


def row(cells):
    return f"| {' | '.join(cells)} |"


def verdict(succeeds):
    return "works" if succeeds else "fails"


def brief(outcome):
    return f"{verdict(outcome.code == 0)}, {outcome.seconds:.0f} s"


def why(outcome):
    """The reason, without what differs from run to run and without the remedy."""
    line = outcome.lines[0].partition("; ")[0]
    line = re.sub(r"(localhost|127\.0\.0\.1):\d+", "HOST", line)
    line = re.sub(r"sha256:[0-9a-f]{64}", "DIGEST", line)
    return textwrap.shorten(line.replace("`", "'").replace("|", "/"), 90, placeholder=" …")


def documented(text):
    """The verdicts on the page, by request, fault and column."""
    found = {}
    for request, title in TITLES.items():
        section = text.partition(f"## {title}\n")[2].partition("\n## ")[0]
        for fault, words in FAULTS.items():
            line = next((line for line in section.splitlines() if line.startswith(f"| {words} |")), "")
            found[request, fault] = re.findall(r"\| (works|fails), \d+ s", line)
    return found


def expected_page():
    """What documented() should return."""
    found = {}
    for request, file in REQUESTS.items():
        for fault in FAULTS:
            sides = ["oci", "http"] if file else ["oci"]
            found[request, fault] = [verdict(Cell(side, request, fault, times).succeeds)
                                     for side in sides for times in (1, None)]
    return found
