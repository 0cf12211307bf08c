"""What podman would get: skopeo, on the same libraries, asked the same."""

import json
import re

from .commands import run


def refusal(reference, *options, **how):
    """The words in which it is refused the manifest; none if it gets it."""
    result = run("skopeo", "inspect", "--raw", *options, f"docker://{reference}", code=None, **how)
    if result.code == 0:
        return ""
    quoted = re.search(r'level=fatal msg=("(?:[^"\\]|\\.)*")', result.output)
    assert quoted, result
    message = json.loads(quoted.group(1))
    return message.removeprefix(f'Error parsing image name "docker://{reference}": ')
