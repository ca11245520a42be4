"""CORS (cross-origin resource sharing, by the Fetch standard): let web pages of other origins use the API.

`with_cors` is ASGI middleware, which answers preflights and marks answers. `sender` asks `is_allowed`, which is pure,
to refuse requests of all other origins. Cookies and other credentials are never shared: no answer has the header
`Access-Control-Allow-Credentials`.
"""

import re
from typing import Annotated

from litestar.types import ASGIApp, Message, Receive, Scope, Send
from msgspec import Meta

from contracts.process.addresses import is_port
from contracts.words import form
from services.edge.http.hosts import ANY, is_pattern, is_served

PREFLIGHT_KEPT_S = 600
METHODS = "GET, HEAD, POST, DELETE"
HEADERS = "Authorization, Content-Type, Idempotency-Key, Range, If-Range, If-None-Match, Last-Event-ID"
EXPOSED = (
    "Location, Retry-After, RateLimit, RateLimit-Policy, WWW-Authenticate, X-Request-Id, Idempotent-Replayed, ETag, "
    "Accept-Ranges, Content-Range, Content-Length"
)
DEFAULT_PORTS = {"http": "80", "https": "443"}

_ORIGIN = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>[^/:@\[\]]+|\[[^/@\]]+\])(:(?P<port>[0-9]{1,5}|\*))?")


def _can_be(text: str) -> bool:
    """Return whether a text is a pattern of origins whose host and port can exist."""
    if text == ANY:
        return True
    match = _ORIGIN.fullmatch(text.lower())
    port = None if match is None else match["port"]
    return match is not None and is_pattern(match["host"]) and (port in (None, ANY) or is_port(port))


AllowedOrigin = Annotated[
    str,
    Meta(
        pattern=r"^(\*|[A-Za-z][A-Za-z0-9+.-]*://(\*\.)?([A-Za-z0-9._-]+|\[[A-Fa-f0-9:.]+\])(:([0-9]{1,5}|\*))?)\Z",
        extra=form(
            "* for every page, or an origin such as https://app.example.com or https://*.example.com:8443",
            _can_be,
        ),
    ),
]
"""`*`, or a scheme, a host and perhaps a port, without a path. The host may begin with `*.`, the port may be `*`."""


def is_allowed(origin: str, allowed: tuple[str, ...]) -> bool:
    """Return whether an `Origin` header names an allowed origin: by scheme, host and port, in any case.

    `*` allows every origin but `null`, which sandboxed frames and local files share. `*.` before a host allows each
    name below the host, and a port `*` allows every port.
    """
    match = _ORIGIN.fullmatch(origin.lower())
    return match is not None and match["port"] != ANY and any(each == ANY or _matches(match, each) for each in allowed)


def _matches(origin: re.Match[str], allowed: str) -> bool:
    """Return whether an origin, as a match of `_ORIGIN`, matches one allowed pattern other than `*`."""
    pattern = _ORIGIN.fullmatch(allowed.lower())
    if pattern is None or pattern["scheme"] != origin["scheme"]:
        return False
    if pattern["port"] != ANY and _port(pattern) != _port(origin):
        return False
    return pattern["host"] != ANY and is_served(origin["host"], (pattern["host"],))


def _port(origin: re.Match[str]) -> str | None:
    """Return the port of an origin; its scheme's own if it names none, and None if that is unknown."""
    return origin["port"] or DEFAULT_PORTS.get(origin["scheme"])


def with_cors(allowed: tuple[str, ...], inner: ASGIApp) -> ASGIApp:
    """Return the app with preflights answered, and answers that pages of the allowed origins can read.

    Without allowed origins, return the app itself.
    """
    if not allowed:
        return inner

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await inner(scope, receive, send)
            return
        headers = dict(scope["headers"])
        origin = headers.get(b"origin", b"")
        may_read = is_allowed(origin.decode("latin-1"), allowed)
        added = [(b"vary", b"Origin")]
        if may_read:
            added.append((b"access-control-allow-origin", origin))
        if may_read and scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
            await _answer_preflight(send, added)
            return
        if may_read:
            added.append((b"access-control-expose-headers", EXPOSED.encode()))

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *added]
            await send(message)

        await inner(scope, receive, send_marked)

    return outer


async def _answer_preflight(send: Send, added: list[tuple[bytes, bytes]]) -> None:
    """Send 204 with the methods and headers that a page may use, and the `added` headers."""
    headers = [
        *added,
        (b"vary", b"Access-Control-Request-Method, Access-Control-Request-Headers"),
        (b"access-control-allow-methods", METHODS.encode()),
        (b"access-control-allow-headers", HEADERS.encode()),
        (b"access-control-max-age", str(PREFLIGHT_KEPT_S).encode()),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
