"""The types of settings that several processes share, with their bounds and the words for them.

Fields of `Settings` structs have these types; `env.read` checks values by them. Checking opens no connection.
"""

import os
import re
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from contracts.process import credentials, log
from contracts.process.addresses import PORT_MAX, has_host, is_address, is_host, is_network
from contracts.words import form

SECONDS_MAX = 31_622_400  # a year of 366 days
WAIT_S_MAX = 86_400  # a day
GB_MAX = 1_000_000
TASKS_MAX = 100_000
ATTEMPTS_MAX = 1000
REPLICAS = (1, 3, 5)
MIB = 1024**2
TIB = 1024**4
PUBLIC_URL_CHARS_MAX = 200

_NATS_SCHEMES = ("nats", "tls", "ws", "wss")
_BUCKET = re.compile(r"s3://[^/\s?#@]+(/[^?#]*)?")


def _is_public_url(url: str | None) -> bool:
    """Return whether a text may stand before the paths of the edge: scheme, host, maybe a port and a path."""
    if url is None:
        return True
    plain = re.fullmatch(r"[!-~]+", url) is not None and not set(url) & set('?#@\\"<>')
    return plain and len(url) <= PUBLIC_URL_CHARS_MAX and has_host(url, ("http", "https"))


def _are_brokers(text: str) -> bool:
    """Return whether a text is a list of brokers' addresses, parted by commas; one without a scheme is of nats://."""
    urls = [url.strip() for url in text.split(",")]
    return all(has_host(url if "://" in url else f"nats://{url}", _NATS_SCHEMES) for url in urls)


def _is_store(text: str) -> bool:
    """Return whether a text may be a path, which is not looked for, or the `s3://` URL of a bucket."""
    return _BUCKET.fullmatch(text) is not None if "://" in text else not text.startswith("s3:")


Port = Annotated[int, Meta(ge=1, le=PORT_MAX)]
PortOrOff = Annotated[int, Meta(ge=0, le=PORT_MAX)]
"""0 for no port."""
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
    str, Meta(extra=form("an address such as http://127.0.0.1:8222", lambda url: has_host(url, ("http", "https"))))
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
PemFile = Annotated[
    str | None,
    Meta(extra=form("a file in PEM that can be read", lambda file: file is None or os.access(file, os.R_OK))),
]
"""A certificate with those that lead to its root, or a private key."""
NatsKeys = Annotated[
    str | None,
    Meta(
        extra=form(
            "a folder with the seed of each user of the broker, such as edge.nk",
            lambda folder: folder is None or Path(folder).is_dir(),
        )
    ),
]
PublicUrl = Annotated[
    str | None,
    Meta(
        extra=form(
            f"an address of up to {PUBLIC_URL_CHARS_MAX} characters, such as https://video.example.org", _is_public_url
        )
    ),
]
"""Where clients find the edges, from outside; what makes links absolute."""
StoreUrl = Annotated[str, Meta(extra=form("a folder's path or s3://BUCKET/PREFIX", _is_store))]
Replicas = Annotated[int, Meta(extra=form("1, 3 or 5", lambda count: count in REPLICAS))]
TracesFile = Annotated[
    str | None,
    Meta(
        extra=form(
            "the path of a file, in a folder that can be written to",
            lambda file: file is None or os.access(Path(file).parent, os.W_OK),
        )
    ),
]
Seconds = Annotated[float, Meta(ge=0, le=SECONDS_MAX)]
"""How long something is kept; 0 keeps nothing."""
Wait = Annotated[float, Meta(gt=0, le=WAIT_S_MAX)]
"""Seconds until something counts as hanging, or is done again."""
Gigabytes = Annotated[float, Meta(ge=0, le=GB_MAX)]


class LogSettings(Struct, frozen=True):
    """The settings of a process's log. Every process has them beside its own; `start.configure` reads them."""

    log_level: log.Level = "info"
    log_format: log.Format | None = None


class TraceSettings(Struct, frozen=True):
    """The settings of tracing, which are OpenTelemetry's own but for the last; `tracing.configure` reads them."""

    otel_traces_exporter: tuple[Literal["none", "otlp", "console"], ...] = ()
    otel_sdk_disabled: bool = False
    traces_file: TracesFile = None
