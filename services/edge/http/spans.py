"""ASGI middleware that traces requests, if tracing is on: a span for each, in the client's own trace if it has one.

`app` wraps everything in it. Probes have no span.
"""

from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from contracts.process import tracing
from services.edge.http.middleware import LOGGED_AT_DEBUG, UNROUTED

OUR_FAULT = 500


def with_spans(inner: ASGIApp) -> ASGIApp:
    """Return the app with a span around each request; the app itself while tracing is off."""
    if not tracing.is_on():
        return inner

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].rstrip("/") in LOGGED_AT_DEBUG:
            await inner(scope, receive, send)
            return
        method, statuses = scope["method"], list[int]()

        async def noting_status(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
            await send(message)

        about = {"http.request.method": method}
        with tracing.span(method, about, parent=_sent_in(scope), kind="server") as span:
            try:
                await inner(scope, receive, noting_status)
            finally:
                route, status = scope.get("path_template", UNROUTED), statuses[0] if statuses else None
                span.rename(f"{method} {route}")
                span.note({"http.route": route, "http.response.status_code": status})
                if status is not None and status >= OUR_FAULT:
                    span.failed(str(status))

    return outer


def _sent_in(scope: HTTPScope) -> str | None:
    """Return the header `traceparent` of a request; None without one, and for several, which W3C does not allow."""
    sent = [value for name, value in scope["headers"] if name == tracing.HEADER.encode()]
    return sent[0].decode("latin-1") if len(sent) == 1 else None
