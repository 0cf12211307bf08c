"""Files and commands of the guide to other tools, to be tried as they stand there."""

import re
import textwrap
from pathlib import Path

GUIDE = Path("/src/docs/other-tools.md")
# The repository in its examples.
EXAMPLE = "quay.io/acme/rpms:stable"


def section(heading):
    """The text below a heading."""
    _, _, rest = GUIDE.read_text().partition(f"\n## {heading}\n")
    assert rest, heading
    return rest.partition("\n## ")[0]


def blocks(heading, reference=EXAMPLE):
    """The files and commands below a heading, with another repository."""
    found = re.findall(r"(?:^(?: {4}.*)?\n)+", section(heading), re.MULTILINE)
    return [textwrap.dedent(block).strip("\n").replace(EXAMPLE, reference) + "\n" for block in found if block.strip()]


def block(heading, part, reference=EXAMPLE):
    """The only one that has this part."""
    [found] = [block for block in blocks(heading, reference) if part in block]
    return found
