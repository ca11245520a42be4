"""ASGI middleware about methods: HEAD is answered wherever GET is, and `Allow` names the methods of a path.

`app` wraps the routes in it, and `error_handlers` writes the `Allow` of a 405 by `allow`.
"""

from collections.abc import Iterable
from typing import cast

from litestar import Litestar
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from services.edge.http.middleware import CONTENT, EVENTS, UNROUTED, VIDEOS, note_refusal, refusal_of
from services.edge.video_errors import speaks_v1

ALLOW = "allow"


def allow(methods: Iterable[str]) -> str:
    """Return the value of `Allow` for a path whose routes have these methods: HEAD comes with GET."""
    found = set(methods)
    return ", ".join(sorted(found | {"HEAD"} if "GET" in found else found))


def with_allow(routes: Litestar) -> ASGIApp:
    """Return the routes with all methods of a path in the answer to OPTIONS.

    Litestar makes that answer when the first handler of a path is registered, and does not add those that follow.
    """
    allowed = {route.path_format: allow(getattr(route, "methods", ())).encode() for route in routes.routes}

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "OPTIONS":
            await routes(scope, receive, send)
            return

        async def send_corrected(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 204:
                others = [each for each in message["headers"] if each[0].lower() != ALLOW.encode()]
                message["headers"] = [*others, (ALLOW.encode(), allowed[scope["path_template"]])]
            await send(message)

        await routes(scope, receive, send_corrected)

    return outer


def head_as_get(inner: ASGIApp) -> ASGIApp:
    """Return the app with HEAD answered as GET (RFC 9110, 9.3.2), except for videos and streams.

    uvicorn, which knows the method from its own scope, leaves the body out.
    """

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD" and not _answers_head(scope["path"]):
            as_get = cast("HTTPScope", {**scope, "method": "GET"})
            try:
                await inner(as_get, receive, send)
            finally:
                scope["path_template"] = as_get.get("path_template", UNROUTED)
                note_refusal(scope, refusal_of(as_get))
        else:
            await inner(scope, receive, send)

    return outer


def _answers_head(path: str) -> bool:
    """Return whether a path is that of a route which answers HEAD by itself, without opening a file or a stream."""
    return path.startswith((VIDEOS, EVENTS)) or (speaks_v1(path) and path.endswith(CONTENT))
