"""Running commands and checking their output."""

import os
import re
import subprocess
import time

from . import secrets


class Result:
    """The outcome of a command."""

    def __init__(self, arguments, code, output):
        self.arguments = arguments
        self.code = code
        self.output = output

    def __str__(self):
        return f"$ {' '.join(self.arguments)}\n{self.output}\n(exit code {self.code})"

    def has(self, text):
        assert text in self.output, f"{text!r} is not in:\n{self}"
        return self

    def tells(self, text):
        """Asserts that the output has `text`, perhaps shortened as in a line that is too long: digests to their
        beginning, and the text to its beginning and end."""
        short = re.sub("([0-9a-fA-F]{12})[0-9a-fA-F]{28,}", r"\1…", text)
        found = text in self.output or short in self.output or self.has_ends_of(short)
        assert found, f"{text!r} is not in:\n{self}"
        return self

    def has_ends_of(self, text, least=12):
        lengths = range(least, len(text))
        for gap in re.finditer(" … ", self.output):
            before, after = self.output[:gap.start()], self.output[gap.end():]
            if (any(before.endswith(text[:length].rstrip()) for length in lengths)
                    and any(after.startswith(text[-length:].lstrip()) for length in lengths)):
                return True
        return False

    def has_not(self, text):
        assert text not in self.output, f"{text!r} is in:\n{self}"
        return self


def run(*arguments, code=0, **options):
    """Runs a command with `answer` as its input. Asserts that it exits with `code`, unless that is None, and
    that its output has no secret."""
    arguments = [str(argument) for argument in arguments]
    done = subprocess.run(
        arguments,
        input=options.pop("answer", ""),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=options.pop("timeout", 120),
        **options,
    )
    result = Result(arguments, done.returncode, done.stdout)
    secrets.check(done.stdout, f"the output of {arguments[0]}")
    if code is not None:
        assert done.returncode == code, f"exit code {code} expected:\n{result}"
    return result


def replace(file, before, after):
    """Replaces a part of a file, which must have it."""
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after))


def wait_until(condition, what, seconds=20):
    """Waits until `condition` holds and returns its value; fails with `what` after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"timed out after {seconds} s: {what}")


def processes(*words):
    """The ids of the processes whose command lines contain all these words."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    line = file.read().decode(errors="replace").split("\0")
                with open(f"/proc/{entry}/stat", "rb") as file:
                    parent = int(file.read().rpartition(b")")[2].split()[1])
            except OSError:
                continue
            if all(any(word in argument for argument in line) for word in words):
                parents[int(entry)] = parent
    # A child of one of them has been forked and is about to execute another program.
    return [process for process, parent in parents.items() if not words or parent not in parents]
