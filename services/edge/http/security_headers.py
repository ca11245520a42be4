"""The headers of every answer that tell browsers what not to do with it: hardening against XSS, framing and leaks.

`server` has uvicorn send `of_all`, which also answers of connections themselves have (`refusals`). `app` wraps the
routes in `hardened`, which adds what an answer may say otherwise.
"""

from litestar.types import ASGIApp, Message, Receive, Scope, Send

HSTS_S = 31_536_000  # a year
ALWAYS = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),  # addresses hold ids of jobs, and an id is a capability
)
ENCRYPTED = (
    ("Strict-Transport-Security", f"max-age={HSTS_S}"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
)
"""What browsers heed over TLS alone; of the second, Chromium complains otherwise."""
NOT_MODIFIED = 304
"""Has the headers alone that change what the client keeps."""

_CSP, _CACHE, _CORP = b"content-security-policy", b"cache-control", b"cross-origin-resource-policy"
_KIND, _PICTURES = b"content-type", (b"video/", b"image/")
_DATA = {
    _CSP: b"default-src 'none'; frame-ancestors 'none'",
    _CACHE: b"no-store",
    _CORP: b"same-origin",
}
"""What answers get that do not say otherwise: they are data, which no page loads and no cache keeps."""
LINES = b"".join(
    b"%s: %s\r\n" % line for line in (*((name.encode(), value.encode()) for name, value in ALWAYS), *_DATA.items())
)
"""All of them but `ENCRYPTED` as a part of a head, for an answer that a connection gives by itself."""
_MEDIA = {**_DATA, _CSP: b"default-src 'none'; img-src 'self'; media-src 'self'; frame-ancestors 'none'"}
"""The same for videos and pictures: whoever opens one by its address gets a page of the browser's own around it."""
_EMBEDDED = {**_MEDIA, _CORP: b"cross-origin"}
"""The same where pages of other origins are allowed: `<video>` asks for one without an `Origin`."""


def of_all(*, encrypted: bool) -> list[tuple[str, str]]:
    """Return the headers of every answer. Whether `ENCRYPTED` holds is known if the edge itself speaks TLS."""
    return [*ALWAYS, *ENCRYPTED] if encrypted else [*ALWAYS]


def hardened(inner: ASGIApp, origins: tuple[str, ...]) -> ASGIApp:
    """Return the app with the headers that an answer lacks. With allowed `origins`, pages of all may show videos."""
    media = _EMBEDDED if origins else _MEDIA

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_hardened(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] != NOT_MODIFIED:
                headers = message.get("headers", ())
                given = dict(headers)
                defaults = media if given.get(_KIND, b"").startswith(_PICTURES) else _DATA
                message["headers"] = [*headers, *(each for each in defaults.items() if each[0] not in given)]
            elif message["type"] == "websocket.http.response.start":  # uvicorn adds nothing to refusals
                message["headers"] = [*message.get("headers", ()), *_of_refused_socket(scope["scheme"])]
            await send(message)

        await inner(scope, receive, send_hardened)

    return outer


def _of_refused_socket(scheme: str) -> list[tuple[bytes, bytes]]:
    """Return all headers of the refusal of a WebSocket. `wss` is an edge's that speaks TLS itself."""
    always = of_all(encrypted=scheme == "wss")
    return [*((name.lower().encode(), value.encode()) for name, value in always), *_DATA.items()]
