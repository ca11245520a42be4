"""Which `Host` headers are served. Pure: knows names, not requests."""

import re
from typing import Annotated

from msgspec import Meta

from contracts.words import form

ANY = "*"
# A name, an IPv4 address or an IPv6 address in brackets, and perhaps a port (RFC 9110, 7.2; names as DNS has them).
_HOST = re.compile(r"(?P<host>[a-z0-9._-]*|\[[a-f0-9:.]+\])(:[0-9]*)?", re.ASCII | re.IGNORECASE)


def is_pattern(text: str) -> bool:
    """Whether a text can allow a host: `*`, a host, or `*.` and a parent domain."""
    return text == ANY or _bare(text.removeprefix("*.")) not in ("", "[]")


HostPattern = Annotated[
    str, Meta(extra=form("* for any host, a host such as a.org, or *.a.org for every name below it", is_pattern))
]


def is_served(header: str, allowed: tuple[str, ...]) -> bool:
    """Whether a `Host` header names an allowed host; port, case and a trailing dot do not matter.

    `*` allows every host; `*.example.com` each name below example.com, and not example.com itself.
    """
    host = _bare(header)
    return ANY in allowed or (host != "" and any(_matches(host, pattern) for pattern in allowed))


def _bare(text: str) -> str:
    """The host alone, in one spelling; empty where it is none."""
    match = _HOST.fullmatch(text)
    return match["host"].lower().removesuffix(".") if match else ""


def _matches(host: str, pattern: str) -> bool:
    if not pattern.startswith("*."):
        return host == _bare(pattern)
    parent = _bare(pattern[2:])
    return parent != "" and host.removesuffix(f".{parent}") not in ("", host)
