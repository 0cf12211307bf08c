"""The secrets that the tests use. No output and no log of ours may have one of them."""

import base64
import json
import subprocess
import urllib.parse
from pathlib import Path

# What is looked for: each secret in the forms in which it is passed on.
FORMS = {}

# Logs of services that tests have started.
LOGS = set()


def register(secret, user=None):
    """Has a secret looked for from now on, and what is sent for it with the name of its user."""
    texts = [secret] if user is None else [secret, f"{user}:{secret}"]
    for text in texts:
        encoded = base64.b64encode(text.encode()).decode().rstrip("=")
        quoted = urllib.parse.quote(text, safe="")
        for form in (text, encoded, quoted, quoted.replace("-", "%2D"), json.dumps(text)[1:-1]):
            FORMS[form] = secret
    return secret


def watch(log):
    """Has a log looked through after each test."""
    LOGS.add(Path(log))


def check(text, where):
    """Asserts that a text has none of the secrets."""
    found = sorted({secret for form, secret in FORMS.items() if form in text})
    assert not found, f"{where} has the secrets {found}"


def check_logs(*others):
    """Looks through the logs that exist."""
    for log in [*LOGS, *others]:
        text = log.read_text(errors="replace") if log.exists() else ""
        try:
            check(text, log)
        except AssertionError:
            # Not after the next test again.
            LOGS.discard(log)
            raise


def check_journal():
    """Looks through the journal of the machine."""
    command = ["journalctl", "--no-pager", "--quiet", "--output=cat", "--all"]
    journal = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    check(journal.decode(errors="replace"), "the journal")
