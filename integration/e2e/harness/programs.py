"""Programs that reach repositories by URL, through the standing socket: curl stands for all of them."""

from pathlib import Path

from .commands import run

SOCKET_UNIT = "dnf5-oci.socket"
SOCKET = Path("/run/dnf5-oci/gateway")
PROXY = f"socks5h://localhost{SOCKET}"
HOST = "http://dnf5-oci.alt"


def curl(url, *options, proxy=PROXY, **how):
    """curl with a proxy. The output is that of the server, or what failed."""
    return run("curl", "--silent", "--show-error", "--proxy", proxy, *options, url, **how)


def status(url, *options, **how):
    """The status of a response, and its body."""
    output = curl(url, "--write-out", "\n%{http_code}", *options, **how).output
    body, _, code = output.rpartition("\n")
    return int(code), body
