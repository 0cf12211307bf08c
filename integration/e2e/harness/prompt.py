"""dnf5 on a terminal, asking its user."""

import io
import signal

import pexpect

from . import secrets
from .commands import Result

QUESTION = r"\[y/N\]: "


class Prompt:
    """A run of dnf5."""

    def __init__(self, *arguments):
        self.arguments = ["dnf5", *map(str, arguments)]
        self.process = pexpect.spawn(self.arguments[0], self.arguments[1:], encoding="utf-8", codec_errors="replace",
                                     timeout=120, dimensions=(50, 200))
        self.process.logfile_read = self.read = io.StringIO()

    def started(self):
        """Waits until it asks."""
        self.process.expect(QUESTION)
        return self

    @property
    def output(self):
        """What it has printed until now."""
        self.process.expect([pexpect.TIMEOUT, pexpect.EOF], timeout=0)
        return self.read.getvalue().replace("\r\n", "\n")

    def answer(self, text, code=0):
        """Answers, and waits until dnf5 ends."""
        self.process.send(text)
        return self.end(code)

    def interrupt(self):
        """Ctrl-C."""
        self.process.kill(signal.SIGINT)
        return self.end(None)

    def kill(self):
        self.process.kill(signal.SIGKILL)
        self.process.close()

    def end(self, code):
        self.process.expect(pexpect.EOF)
        output = self.output
        self.process.wait()
        self.process.close()
        result = Result(self.arguments, self.process.exitstatus, output)
        secrets.check(result.output, "the output of dnf5")
        assert code in (None, result.code), f"exit code {code} expected:\n{result}"
        return result
