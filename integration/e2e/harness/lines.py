"""dnf5's output, without what differs from run to run."""

import re

# Patterns and their replacements in lines that are compared.
VARIES = [
    (r"(\d+|\?\?\?)% \|.*", "BAR"),
    (r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9:]{5,8}( UTC)?", "TIME"),
    (r"(Begin time|End time|Begin rpmdb|End rpmdb|Last updated|Updated|Transaction ID) *: .*", r"\1"),
    # The name of a cache directory contains a hash of the URL.
    (r"(/var/cache/libdnf5/[^/ ]+)-[0-9a-f]{16}/", r"\1-HASH/"),
    # The peer of curl's connection.
    (r" \(IP: [^)]*\)", ""),
    (r"Removed \d+ files, \d+ directories.*", "Removed"),
]


# Lines of the service and the plugin. dnf5 prints them below a progress bar, the plugin without one.
BAR = re.compile(r" dnf5-oci +(\d+|\?\?\?)% \|")
OURS = re.compile(r"(?:>>> )?(repository \S+ oci://\S+: .*|dnf5-oci.*)")


def split_output(text):
    """Returns dnf5's own output, and our lines."""
    theirs, ours = [], []
    for line in text.splitlines():
        if found := OURS.fullmatch(line):
            ours.append(found[1])
        elif not BAR.match(line):
            theirs.append(line)
    return "\n".join(theirs), ours


def replace_url(text, url, name="URL"):
    """Replaces a repository's URL by a name."""
    # dnf5 fetches from the service's URL and prints it for locations: libdnf5 prints no URL whose
    # scheme it does not know.
    return text.replace(url.replace("oci://", "http://dnf5-oci.alt/"), name).replace(url, name)


def normalize(text, url):
    """Returns the lines and, sorted, the progress bars: downloads end in any order."""
    text = replace_url(text, url)
    for pattern, replacement in VARIES:
        text = re.sub(pattern, replacement, text)
    lines = [line.rstrip() for line in text.splitlines()]
    bars = sorted(re.sub(r"^\[ *\d+/\d+\]", "[]", line) for line in lines if line.endswith("BAR"))
    return [line for line in lines if not line.endswith("BAR")], bars


def as_text(arguments, code, lines, bars):
    """Formats a command and its outcome, so that pytest shows the differing line."""
    return "\n".join([f"$ dnf5 {' '.join(arguments)}", *lines, *bars, f"(exit code {code})"])
