"""What the programs on the client's side use: time, processor time, memory."""

import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pexpect

from harness.commands import run, wait_until

QUESTION = r"Is this ok \[y/N\]: "


@dataclass
class Usage:
    """What a command took, in seconds."""

    elapsed: float
    processor: float


class Clients:
    """A control group with this process and all that it starts from now on: dnf5, the message bus,
    and with them the service and skopeo. What was started before, the servers, is not in it."""

    HIERARCHY = Path("/run/cgroup")

    def __init__(self):
        self.HIERARCHY.mkdir()
        run("mount", "-t", "cgroup2", "cgroup2", self.HIERARCHY)
        self.directory = Path(tempfile.mkdtemp(prefix="dnf5-oci-bench-", dir=self.HIERARCHY))
        self.enter(self.directory)

    @staticmethod
    def enter(group):
        (group / "cgroup.procs").write_text("0")

    def close(self):
        """Ends all processes in the group but this one, and removes the group."""
        self.enter(self.HIERARCHY)
        (self.directory / "cgroup.kill").write_text("1")
        wait_until(lambda: "populated 0" in (self.directory / "cgroup.events").read_text(),
                   "the clients end")
        self.directory.rmdir()

    def run(self, *command):
        """Runs a command, which must succeed; returns its Usage. The processor time is that of all
        clients but this process, until the command ends."""
        processor, begin = self.processor_time(), time.perf_counter()
        run(*command, timeout=600)
        return Usage(time.perf_counter() - begin, self.processor_time() - processor)

    def answer(self, reading, *command):
        """Runs a command on a terminal and answers its question with yes, after so many seconds. Returns its Usage:
        the time from the answer to the end, and all of the processor time."""
        processor = self.processor_time()
        running = pexpect.spawn(command[0], list(map(str, command[1:])), encoding="utf-8", timeout=600,
                                dimensions=(50, 200))
        running.delaybeforesend = None
        running.expect(QUESTION)
        time.sleep(reading)
        begin = time.perf_counter()
        running.sendline("y")
        running.expect(pexpect.EOF)
        code = running.wait()
        usage = Usage(time.perf_counter() - begin, self.processor_time() - processor)
        assert code == 0, f"{command} failed:\n{running.before}"
        running.close()
        return usage

    def processor_time(self):
        [usage] = [int(line.split()[1])
                   for line in (self.directory / "cpu.stat").read_text().splitlines()
                   if line.startswith("usage_usec")]
        return usage / 1_000_000 - time.process_time()

    def memory(self):
        """Memory of the clients by program, in bytes of PSS: what processes share counts once."""
        memory = {}
        for process in (self.directory / "cgroup.procs").read_text().split():
            directory = Path("/proc", process)
            try:
                program = (directory / "comm").read_text().strip()
                rollup = (directory / "smaps_rollup").read_text()
            except OSError:
                # It has ended.
                continue
            for line in rollup.splitlines():
                if line.startswith("Pss:"):
                    memory[program] = memory.get(program, 0) + int(line.split()[1]) * 1024
        return memory


class PeakMemory:
    """The peak memory of each program, in bytes, while `with` lasts; of several processes of one
    program, that of their sum. Sampling takes processor time: what is timed is not sampled."""

    PAUSE = 0.01

    def __init__(self, clients):
        self.clients = clients
        self.peaks = {}
        self.ended = threading.Event()
        self.sampler = threading.Thread(target=self.sample)

    def __enter__(self):
        self.sampler.start()
        return self.peaks

    def __exit__(self, *_):
        self.ended.set()
        self.sampler.join()

    def sample(self):
        while not self.ended.wait(self.PAUSE):
            for program, memory in self.clients.memory().items():
                self.peaks[program] = max(memory, self.peaks.get(program, 0))
