"""Limit how often somebody may submit (rate limiting by token buckets), for each tenant or address at this edge.

A bucket holds as many submissions as are allowed in a minute, and fills again evenly.
"""

import math
import time
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network

from contracts.recent import Recent
from services.edge.errors import AccessRefused

MINUTE_S = 60
KNOWN_MAX = 10_000
"""Of how many tenants or addresses a bucket is kept; whoever is forgotten begins with a full one."""
IPV6_PREFIX = 64
"""The bits of an IPv6 address that tell clients apart: one client has all addresses below them."""
POLICY = "submissions"


class Rates:
    """The buckets of one edge, by name. `now` is a monotonic clock, in seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._buckets = Recent[str, tuple[float, float]](KNOWN_MAX)
        """What was left in a bucket, and when that was."""

    def take(self, name: str, a_minute: int) -> None:
        """Take one submission out of a bucket that holds `a_minute`; 0 for no limit. Raises `AccessRefused`, a 429."""
        if not a_minute:
            return
        now = self._now()
        left, since = self._buckets.get(name, (float(a_minute), now))
        left = min(float(a_minute), left + (now - since) * a_minute / MINUTE_S)
        if left < 1:
            raise too_often(a_minute, math.ceil((1 - left) * MINUTE_S / a_minute))
        self._buckets[name] = left - 1, now


def too_often(a_minute: int, again_in_s: int) -> AccessRefused:
    """Return the refusal of a submission beyond the limit, which may be sent again in so many seconds.

    Its headers are those of the draft `draft-ietf-httpapi-ratelimit-headers`, and `Retry-After`.
    """
    again_in_s = max(1, again_in_s)
    headers = {
        "Retry-After": str(again_in_s),
        "RateLimit-Policy": f'"{POLICY}";q={a_minute};w={MINUTE_S}',
        "RateLimit": f'"{POLICY}";r=0;t={again_in_s}',
    }
    text = f"{a_minute} submissions a minute are taken of you here; the next one in {again_in_s} s"
    return AccessRefused(429, "TOO_MANY_SUBMISSIONS", text, headers)


def bucket_of(address: str) -> str:
    """Return the name of the bucket of a client's address: the address, or the network of an IPv6 address."""
    try:
        known = ip_address(address)
    except ValueError:
        return address
    if not isinstance(known, IPv6Address):
        return address
    if known.ipv4_mapped is not None:
        return str(known.ipv4_mapped)
    return str(ip_network((int(known), IPV6_PREFIX), strict=False))
