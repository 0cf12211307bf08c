"""The base of all servers that the tests start."""

from pathlib import Path


class Daemon:
    """A process and its log."""

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
        """Ignores everything logged until now."""
        self.seen = len(self.log.read_bytes())

    def new(self):
        """The log since the last clear()."""
        return self.log.read_bytes()[self.seen :].decode(errors="replace")
