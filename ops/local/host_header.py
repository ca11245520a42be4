"""Chooses the `Host` header that `ready` sends to an edge that serves only some hosts (`ALLOWED_HOSTS`)."""

import re

ANY, BELOW = "*", "*."
NAME_BELOW = "wanjet"
"""Stands for any name below a domain."""

_PATTERN = re.compile(r"(\*\.)?([\w.-]+|\[[0-9a-f:.]+\])(:[0-9]*)?", re.ASCII | re.IGNORECASE)


def host_header(allowed_hosts: str, own: str) -> str | None:
    """Return a host that the patterns of `ALLOWED_HOSTS` allow, or None if they allow `own`, the URL's host.

    None too if no pattern can be read: the edge says what is wrong with it.
    """
    patterns = [pattern for pattern in (part.strip() for part in allowed_hosts.split(",")) if pattern]
    if not patterns or ANY in patterns or own in patterns:
        return None
    readable = next((pattern for pattern in patterns if _PATTERN.fullmatch(pattern)), None)
    if readable is None:
        return None
    return f"{NAME_BELOW}.{readable.removeprefix(BELOW)}" if readable.startswith(BELOW) else readable
