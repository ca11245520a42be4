"""ASGI middleware around the routes: allowed hosts, HEAD, and the trace of each request (its id, its log line).

`app` wraps the routes in it. CORS, the fourth layer, is in `origins`.
"""

import asyncio
import itertools
import secrets
import time
from collections.abc import Iterator
from typing import Any, cast

import msgspec
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from contracts.process import log
from services.edge.http.hosts import is_served
from services.edge.payloads import ErrorBody

PATH_CHARS_MAX = 120
PROBES = ("/livez", "/readyz")
VIDEOS = "/videos/"
"""The prefix of the routes that answer HEAD by themselves, without opening the file."""
LAST_ANSWER = (b"connection", b"close")
BODY_HEADERS = (b"content-length", b"transfer-encoding")


def only_for(allowed: tuple[str, ...], inner: ASGIApp) -> ASGIApp:
    """Return the app with an answer 400 to requests whose `Host` is not allowed (patterns as in `hosts.is_served`).

    Probes come by address, and pass whatever their host.
    """
    refusal = ASGIResponse(
        body=msgspec.json.encode(ErrorBody("BAD_REQUEST", "this host is not served here")),
        status_code=400,
        media_type="application/json",
    )

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in PROBES:
            host = next((value for name, value in scope["headers"] if name == b"host"), b"")
            if not is_served(host.decode("latin-1"), allowed):
                await refusal(scope, receive, send)
                return
        await inner(scope, receive, send)

    return outer


def head_as_get(inner: ASGIApp) -> ASGIApp:
    """Return the app with HEAD answered as GET (RFC 9110, 9.3.2), except below `VIDEOS`.

    uvicorn, which knows the method from its own scope, leaves the body out.
    """

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD" and not scope["path"].startswith(VIDEOS):
            scope = cast("Scope", {**scope, "method": "GET"})
        await inner(scope, receive, send)

    return outer


class _ClientLeft(BaseException):
    """The connection ended before the body of its request was whole. The request must have no effect.

    Not an `Exception`, so that the error passes every handler on its way out, as a cancellation does.
    """


def traced(inner: ASGIApp, draining: asyncio.Event) -> ASGIApp:
    """Return the app with an id for each request, in its answer and in every log line, and one log line a request.

    No log line holds a body, a query or a header. Once `draining` is set, each answer is the last of its connection. A
    request whose client left before its body was whole ends without an answer.
    """
    ids = _request_ids()

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await inner(scope, receive, send)
            return
        began, request_id, status = time.monotonic(), next(ids), 0
        log.forget("job_id")  # a pipelined request begins in the context of the one before it
        log.bind(http_request_id=request_id)

        async def send_traced(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                last = [LAST_ANSWER] if draining.is_set() else []
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode()), *last]
            await send(message)

        try:
            await inner(scope, _whole(receive, scope), send_traced)
        except (_ClientLeft, asyncio.CancelledError) as end:
            if draining.is_set():
                return  # the server's end cuts off all requests, and logs their number in one line
            if isinstance(end, asyncio.CancelledError):
                raise
            status = 0
        event, ms = "request_served" if status else "request_left", round(1000 * (time.monotonic() - began), 1)
        log.line(event, method=scope["method"], path=scope["path"][:PATH_CHARS_MAX], status=status, ms=ms)

    return outer


def _request_ids() -> Iterator[str]:
    """Yield ids without end: 16 random hex characters of this process, and 16 that count. Cheaper than a UUID each."""
    instance = secrets.token_hex(8)
    return (f"{instance}{number:016x}" for number in itertools.count())


def _whole(receive: Receive, scope: HTTPScope) -> Receive:
    """Return `receive`, which now raises `_ClientLeft` if the connection ends before the body is whole."""
    expected = any(name in BODY_HEADERS and value != b"0" for name, value in scope["headers"])

    async def receive_whole() -> Any:
        nonlocal expected
        message = await receive()
        if message["type"] == "http.disconnect" and expected:
            raise _ClientLeft
        expected = expected and message.get("more_body", False)
        return message

    return receive_whole
