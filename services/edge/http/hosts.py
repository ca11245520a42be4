"""Match `Host` headers with the allowed hosts (ALLOWED_HOSTS), which defeats DNS rebinding against the edge. Pure.

`middleware` asks for each request; `origins` matches the hosts of origins in the same way.
"""

import re
from typing import Annotated

from msgspec import Meta

from contracts.process.addresses import is_host, is_ip, is_port
from contracts.words import form

ANY, BELOW = "*", "*."
# A name, an IPv4 address or an IPv6 address in brackets, and perhaps a port (RFC 9110, 7.2; names as DNS has them).
_HOST = re.compile(r"(?P<host>[a-z0-9._-]*|\[[a-f0-9:.]+\])(?P<port>:[0-9]*)?", re.ASCII | re.IGNORECASE)


def is_pattern(text: str) -> bool:
    """Return whether a text is a pattern: `*`, a host, or `*.` and a domain; the latter two may have a port."""
    match = _HOST.fullmatch(text.removeprefix(BELOW))
    if text == ANY or match is None:
        return text == ANY
    host, port = match["host"], (match["port"] or ":").removeprefix(":")
    if port and not is_port(port):
        return False
    if text.startswith(BELOW):
        return is_host(host) and not is_ip(host)
    return is_ip(host[1:-1]) if host.startswith("[") else is_host(host)


HostPattern = Annotated[
    str, Meta(extra=form("* for any host, a host such as a.org, or *.a.org for every name below it", is_pattern))
]


def is_served(header: str, allowed: tuple[str, ...]) -> bool:
    """Return whether a `Host` header names an allowed host. Port, case and a trailing dot do not matter.

    `*` allows every host; `*.example.com` allows each name below example.com, but not example.com itself.
    """
    if ANY in allowed:
        return True
    host = _bare(header)
    return host != "" and any(_matches(host, pattern) for pattern in allowed)


def _bare(text: str) -> str:
    """Return the host without its port, in lower case and without a trailing dot; empty if the text is no host."""
    match = _HOST.fullmatch(text)
    return match["host"].lower().removesuffix(".") if match else ""


def _matches(host: str, pattern: str) -> bool:
    """Return whether a bare host matches an allowed pattern other than `*`."""
    if not pattern.startswith("*."):
        return host == _bare(pattern)
    parent = _bare(pattern[2:])
    return parent != "" and host.removesuffix(f".{parent}") not in ("", host)
