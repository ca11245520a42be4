"""ASGI middleware around the routes: allowed hosts, and the trace of each request (its id, its log line).

`app` wraps the routes in it. HEAD and `Allow` are in `methods`, CORS is in `origins`.
"""

import asyncio
import itertools
import secrets
import time
from collections.abc import Iterator
from typing import Any, cast

import msgspec
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send, WebSocketScope

from contracts.process import log
from services.edge.http.hosts import is_served
from services.edge.numbers import EdgeNumbers
from services.edge.payloads import ErrorBody
from services.edge.video_errors import as_video_error, speaks_v1

PATH_CHARS_MAX = 120
PROBES = ("/livez", "/readyz")
LOGGED_AT_DEBUG = (*PROBES, "/health", "/metrics")
"""Asked several times a second by probers and dashboards."""
UNROUTED = "none"
REFUSAL = "refusal"
"""The key of a request's scope under which the `error` of its answer stands, if it was refused."""
VIDEOS, CONTENT, EVENTS = "/videos/", "/content", "/video/events"
"""The prefix of the paths of videos, the suffix of the same below `/v1`, and the prefix of streams of events."""
LAST_ANSWER = (b"connection", b"close")
BEGINNINGS = ("http.response.start", "websocket.http.response.start", "websocket.accept")
"""The messages that begin an answer, whose headers get the request's id."""
BODY_HEADERS = (b"content-length", b"transfer-encoding")


def only_for_hosts(allowed: tuple[str, ...], inner: ASGIApp) -> ASGIApp:
    """Return the app with an answer 400 to requests whose `Host` is not allowed (patterns as in `hosts.is_served`).

    Probes come by address, and pass whatever their host.
    """
    ours = ErrorBody("BAD_REQUEST", "this host is not served here")
    bodies = msgspec.json.encode(ours), msgspec.json.encode(as_video_error(400, ours)[1])
    refusals = [ASGIResponse(body=body, status_code=400, media_type="application/json") for body in bodies]

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and scope["path"] not in PROBES:
            host = next((value for name, value in scope["headers"] if name == b"host"), b"")
            if not is_served(host.decode("latin-1"), allowed):
                note_refusal(scope, ours.error)
                refusal = refusals[speaks_v1(scope["path"])]
                await (refusal(scope, receive, send) if scope["type"] == "http" else send(REFUSED_SOCKET))
                return
        await inner(scope, receive, send)

    return outer


REFUSED_SOCKET = cast("Message", {"type": "websocket.close", "code": 1008, "reason": ""})
"""In place of an acceptance: the client is answered 403."""


class _ClientLeft(BaseException):
    """The connection ended before the body of its request was whole. The request must have no effect.

    Not an `Exception`, so that the error passes every handler on its way out, as a cancellation does.
    """


def note_refusal(scope: Scope, error: str) -> None:
    """Note the `error` of the answer to a request, for the metrics; an empty one for a request that is served."""
    cast("dict[str, Any]", scope)[REFUSAL] = error


def refusal_of(scope: Scope) -> str:
    """Return what was noted by `note_refusal`; empty if nothing was."""
    return cast("dict[str, Any]", scope).get(REFUSAL, "")


def traced(inner: ASGIApp, draining: asyncio.Event, numbers: EdgeNumbers) -> ASGIApp:
    """Return the app with an id for each request, in its answer and in every log line, and one log line a request.

    Every request is counted in `numbers`.

    The line says which job it is about, if any, the template of the route, and the bytes of both bodies; the line of a
    probe is at debug. No log line holds a body, a query or a header. Once `draining` is set, each answer is the last of
    its connection. A request whose client left before its body was whole ends without an answer.
    """
    ids = _request_ids()

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await inner(scope, receive, send)
            return
        log.forget("job_id", "tenant", "key_id")  # a pipelined request begins in the context of the one before it
        trace = _Trace(scope, receive, send, next(ids), draining)
        log.bind(http_request_id=trace.request_id)
        try:
            await inner(scope, trace.receive, trace.send)
        except (_ClientLeft, asyncio.CancelledError) as end:
            if draining.is_set():
                return  # the server's end cuts off all requests, and logs their number in one line
            if isinstance(end, asyncio.CancelledError):
                raise
            trace.status = 0
        trace.log(numbers)

    return outer


class _Trace:
    """Counts what passes of one request and its answer, for its line in the log. Made when the request begins."""

    def __init__(
        self, scope: HTTPScope | WebSocketScope, receive: Receive, send: Send, request_id: str, draining: asyncio.Event
    ) -> None:
        self.request_id, self.status = request_id, 0
        self._scope, self._receive, self._send, self._draining = scope, receive, send, draining
        self._method = scope.get("method", "GET")
        self._body_expected = any(name in BODY_HEADERS and value != b"0" for name, value in scope["headers"])
        self._began, self._bytes_in, self._bytes_out = time.monotonic(), 0, 0

    async def receive(self) -> Any:
        """Return the next message, or raise `_ClientLeft` if the connection ends before the body is whole."""
        message: Any = await self._receive()
        if message["type"] == "http.disconnect":
            if self._body_expected:
                raise _ClientLeft
        elif message["type"] == "http.request":
            self._bytes_in += len(message.get("body", b""))
            self._body_expected = self._body_expected and message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Send a message of the answer, the first one with the request's id."""
        if message["type"] in BEGINNINGS:
            self.status = message.get("status", 101)
            last = [LAST_ANSWER] if self._draining.is_set() and self._scope["type"] == "http" else []
            headers = [*message.get("headers", []), (b"x-request-id", self.request_id.encode()), *last]
            cast("dict[str, Any]", message)["headers"] = headers
        elif message["type"] == "websocket.close" and not self.status:
            self.status = 403
        elif self._method != "HEAD":  # of an answer to HEAD, uvicorn drops the body
            self._bytes_out += len(message.get("body") or message.get("text") or b"")
        await self._send(message)

    def log(self, numbers: EdgeNumbers) -> None:
        """Log the request, whose `status` is 0 if it ended without an answer, and count it."""
        path, client = self._scope["path"], self._scope["client"]
        method, route = self._method, self._scope.get("path_template", UNROUTED)
        seconds = time.monotonic() - self._began
        numbers.served(method, route, self.status, seconds, refusal_of(self._scope))
        log.line(
            "request_served" if self.status else "request_left",
            level="debug" if path.rstrip("/") in LOGGED_AT_DEBUG else "info",
            method=method,
            path=path[:PATH_CHARS_MAX],
            route=route,
            status=self.status,
            ms=round(1000 * seconds, 1),
            bytes_in=self._bytes_in,
            bytes_out=self._bytes_out,
            client="" if client is None else client[0],
        )


def _request_ids() -> Iterator[str]:
    """Yield ids without end: 16 random hex characters of this process, and 16 that count. Cheaper than a UUID each."""
    instance = secrets.token_hex(8)
    return (f"{instance}{number:016x}" for number in itertools.count())
