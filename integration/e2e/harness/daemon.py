"""What all servers that the tests start have in common."""

from pathlib import Path


class Daemon:
    """A process, once it is started, and a log of which only what is new counts."""

    def __init__(self, log):
        self.log = Path(log)
        self.seen = 0
        self.process = None

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait()
            self.process = None

    def clear(self):
        """What was asked up to now does not count."""
        self.seen = len(self.log.read_bytes())

    def new(self):
        """What is in the log since then."""
        return self.log.read_bytes()[self.seen :].decode(errors="replace")
