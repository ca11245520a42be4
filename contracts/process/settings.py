"""The types of settings that several processes share, with their bounds and the words for them.

Fields of `Settings` structs have these types; `env.read` checks values by them. Checking opens no connection.
"""

import re
from ipaddress import ip_address, ip_network
from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta

from contracts.process import credentials
from contracts.words import form

PORT_MAX = 65_535
SECONDS_MAX = 31_622_400  # a year of 366 days
WAIT_S_MAX = 86_400  # a day
GB_MAX = 1_000_000
TASKS_MAX = 100_000
ATTEMPTS_MAX = 1000
REPLICAS = (1, 3, 5)
MIB = 1024**2
TIB = 1024**4

_NATS_SCHEMES = ("nats", "tls", "ws", "wss")
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_][a-z0-9_-]{0,62})*\.?", re.IGNORECASE)
_BUCKET = re.compile(r"s3://[^/\s?#@]+(/[^?#]*)?")


def is_host(text: str) -> bool:
    """Return whether a text is an IP address, or a host name as DNS has it."""
    try:
        ip_address(text)
    except ValueError:
        return _NAME.fullmatch(text) is not None and not re.fullmatch(r"[0-9.]+", text)
    return True


def is_address(text: str) -> bool:
    """Return whether a text is `host:port`, with a host as `is_host` has it; an IPv6 address stands in brackets."""
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]") and ":" in host
    if not colon or not is_port(port) or (":" in host and not bracketed):
        return False
    return is_host(host[1:-1] if bracketed else host)


def is_port(text: str) -> bool:
    """Return whether a text is the number of a port, from 1 to 65535."""
    return re.fullmatch(r"[0-9]{1,5}", text) is not None and 1 <= int(text) <= PORT_MAX


def is_ip(text: str) -> bool:
    """Return whether a text is an IP address, and not a name that must be looked up."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def is_network(text: str) -> bool:
    """Return whether a text is an IP network without bits beyond its prefix."""
    try:
        ip_network(text)
    except ValueError:
        return False
    return True


def _has_host(url: str, schemes: tuple[str, ...]) -> bool:
    """Return whether a text is a URL of one of these schemes with a host, and no port of 0."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    return parts.scheme in schemes and is_host(parts.hostname or "") and port != 0


def _are_brokers(text: str) -> bool:
    """Return whether a text is a list of brokers' addresses, parted by commas; one without a scheme is of nats://."""
    urls = [url.strip() for url in text.split(",")]
    return all(_has_host(url if "://" in url else f"nats://{url}", _NATS_SCHEMES) for url in urls)


def _is_store(text: str) -> bool:
    """Return whether a text may be a path, which is not looked for, or the `s3://` URL of a bucket."""
    return _BUCKET.fullmatch(text) is not None if "://" in text else not text.startswith("s3:")


Port = Annotated[int, Meta(ge=1, le=PORT_MAX)]
Host = Annotated[
    str, Meta(extra=form("an IP address or a host name to listen on, such as 127.0.0.1, 0.0.0.0 or ::", is_host))
]
Address = Annotated[
    str, Meta(extra=form("HOST:PORT with a port from 1 to 65535, such as 127.0.0.1:4222 or [::1]:4222", is_address))
]
Network = Annotated[str, Meta(extra=form("a network such as 10.0.0.0/8 or fd00::/8", is_network))]
NatsUrl = Annotated[
    str,
    Meta(
        extra=form(
            "one address of a broker or several, parted by commas, such as nats://127.0.0.1:4222 "
            "(nats, tls, ws or wss)",
            _are_brokers,
        )
    ),
]
MonitorUrl = Annotated[
    str, Meta(extra=form("an address such as http://127.0.0.1:8222", lambda url: _has_host(url, ("http", "https"))))
]
NatsCreds = Annotated[
    str | None,
    Meta(
        extra=form(
            "a file that can be read: a broker's credentials (.creds), or an nkey seed in a name that ends in .nk "
            "or .seed",
            lambda file: file is None or credentials.fault(file) is None,
            credentials.fault,
        )
    ),
]
StoreUrl = Annotated[str, Meta(extra=form("a folder's path or s3://BUCKET/PREFIX", _is_store))]
Replicas = Annotated[int, Meta(extra=form("1, 3 or 5", lambda count: count in REPLICAS))]
Seconds = Annotated[float, Meta(ge=0, le=SECONDS_MAX)]
"""How long something is kept; 0 keeps nothing."""
Wait = Annotated[float, Meta(gt=0, le=WAIT_S_MAX)]
"""Seconds until something counts as hanging, or is done again."""
Gigabytes = Annotated[float, Meta(ge=0, le=GB_MAX)]
