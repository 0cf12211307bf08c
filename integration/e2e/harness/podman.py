"""What podman would get, as seen by skopeo, which has the same libraries."""

import json
import re

from .commands import run


def refusal(reference, *options, **how):
    """Returns skopeo's message if it cannot read the manifest, and an empty string if it can."""
    result = run("skopeo", "inspect", "--raw", *options, f"docker://{reference}", code=None, **how)
    if result.code == 0:
        return ""
    quoted = re.search(r'level=fatal msg=("(?:[^"\\]|\\.)*")', result.output)
    assert quoted, result
    message = json.loads(quoted.group(1))
    return message.removeprefix(f'Error parsing image name "docker://{reference}": ')
