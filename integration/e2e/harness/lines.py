"""What dnf5 prints, without what differs from run to run."""

import re

# What is replaced by what, for lines that are compared.
VARIES = [
    (r"(\d+|\?\?\?)% \|.*", "BAR"),
    (r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9:]{5,8}( UTC)?", "TIME"),
    (r"(Begin time|End time|Begin rpmdb|End rpmdb|Last updated|Updated|Transaction ID) *: .*", r"\1"),
    # The name of a cache directory has a hash of the URL.
    (r"(/var/cache/libdnf5/[^/ ]+)-[0-9a-f]{16}/", r"\1-HASH/"),
    # What curl was connected to.
    (r" \(IP: [^)]*\)", ""),
    (r"Removed \d+ files, \d+ directories.*", "Removed"),
]


# The service's own lines: dnf5 prints them with bars of their own while it runs, and bare at its end.
BAR = re.compile(r" dnf5-oci +(\d+|\?\?\?)% \|")
OURS = re.compile(r"(?:>>> )?(repository \S+ oci://\S+: .*|dnf5-oci.*)")


def split_output(text):
    """What dnf5 prints by itself, and our own lines."""
    theirs, ours = [], []
    for line in text.splitlines():
        if found := OURS.fullmatch(line):
            ours.append(found[1])
        elif not BAR.match(line):
            theirs.append(line)
    return "\n".join(theirs), ours


def replace_url(text, url, name="URL"):
    """With a name in place of a repository's URL."""
    # dnf5 itself fetches from an address of ours, which libdnf5 also prints for locations: it would
    # leave out URLs of a scheme that it does not know.
    return text.replace(url.replace("oci://", "http://dnf5-oci.alt/"), name).replace(url, name)


def normalize(text, url):
    """The lines, and the progress bars apart: downloads end in any order."""
    text = replace_url(text, url)
    for pattern, replacement in VARIES:
        text = re.sub(pattern, replacement, text)
    lines = [line.rstrip() for line in text.splitlines()]
    bars = sorted(re.sub(r"^\[ *\d+/\d+\]", "[]", line) for line in lines if line.endswith("BAR"))
    return [line for line in lines if not line.endswith("BAR")], bars


def as_text(arguments, code, lines, bars):
    """All of it as one text, for a comparison that shows where it differs."""
    return "\n".join([f"$ dnf5 {' '.join(arguments)}", *lines, *bars, f"(exit code {code})"])
