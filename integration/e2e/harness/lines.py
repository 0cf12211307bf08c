"""What dnf5 prints, without what differs from run to run."""

import re

# What is replaced by what, for lines that are compared.
VARIES = [
    (r"(\d+|\?\?\?)% \|.*", "BAR"),
    (r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9:]{5,8}( UTC)?", "TIME"),
    (r"(Begin time|End time|Begin rpmdb|End rpmdb|Last updated|Updated|Transaction ID) *: .*", r"\1"),
    (r"Removed \d+ files, \d+ directories.*", "Removed"),
]


def normal(text, url):
    """The lines, and the progress bars apart: downloads end in any order."""
    # dnf5 itself fetches from an address of ours, which libdnf5 also prints for locations: it would
    # leave out URLs of a scheme that it does not know.
    text = text.replace(url.replace("oci://", "http://oci.localhost/"), "URL").replace(url, "URL")
    for pattern, replacement in VARIES:
        text = re.sub(pattern, replacement, text)
    lines = [line.rstrip() for line in text.splitlines()]
    bars = sorted(re.sub(r"^\[ *\d+/\d+\]", "[]", line) for line in lines if line.endswith("BAR"))
    return [line for line in lines if not line.endswith("BAR")], bars


def pretty(arguments, code, lines, bars):
    """All of it as one text, for a comparison that shows where it differs."""
    return "\n".join([f"$ dnf5 {' '.join(arguments)}", *lines, *bars, f"(exit code {code})"])
