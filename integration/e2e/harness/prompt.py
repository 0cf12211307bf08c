"""dnf5 on a terminal, asking its user."""

import os
import pty
import subprocess
import threading

from . import secrets
from .commands import Result, wait_until

QUESTION = "[y/N]: "


class Prompt:
    """A run of dnf5."""

    def __init__(self, *arguments):
        self.arguments = ["dnf5", *map(str, arguments)]
        self.terminal, terminal = pty.openpty()
        self.process = subprocess.Popen(
            self.arguments, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True)
        os.close(terminal)
        self.read = []
        self.reader = threading.Thread(target=self.receive, daemon=True)
        self.reader.start()

    def started(self):
        """Waits until it asks."""
        wait_until(lambda: QUESTION in self.output or self.process.poll() is not None, "dnf5 asks", 60)
        assert QUESTION in self.output, self.output
        return self

    def receive(self):
        try:
            while data := os.read(self.terminal, 65536):
                self.read.append(data)
        except OSError:
            # The other side is closed.
            pass

    @property
    def output(self):
        return b"".join(self.read).decode(errors="replace").replace("\r\n", "\n")

    def answer(self, text, code=0):
        """Answers, and waits until dnf5 ends."""
        os.write(self.terminal, text.encode())
        return self.end(code)

    def interrupt(self):
        """Ctrl-C."""
        self.process.send_signal(2)
        return self.end(None)

    def end(self, code):
        assert self.process.wait(timeout=120) is not None
        self.reader.join(timeout=10)
        os.close(self.terminal)
        result = Result(self.arguments, self.process.returncode, self.output)
        secrets.check(result.output, "the output of dnf5")
        assert code in (None, result.code), f"exit code {code} expected:\n{result}"
        return result
