"""Answer a request that the gate refuses, in the dialect of its path, over HTTP or in place of a WebSocket."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import msgspec
from litestar.types import HTTPScope, Receive, Send, WebSocketScope

from services.edge.http.middleware import note_refusal
from services.edge.video_errors import as_video_error, speaks_v1

Refuse = Callable[[Exception], tuple[int, Any, dict[str, str]]]
"""Returns status, body and headers of the answer to an exception."""


async def answer(
    scope: HTTPScope | WebSocketScope, receive: Receive, send: Send, refuse: Refuse, error: Exception
) -> int:
    """Answer with a refusal, in the dialect of the path, and in place of an upgrade if one was asked for.

    Return the status.
    """
    status, body, headers = refuse(error)
    note_refusal(scope, str(getattr(body, "error", "")))
    if speaks_v1(scope["path"]):
        status, body, more = as_video_error(status, body)
        headers = {**headers, **more}
    content = msgspec.json.encode(body)
    named = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    plain = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    prefix = ""
    if scope["type"] == "websocket":
        prefix = "websocket."
        await receive()  # the request
    with suppress(OSError):  # the client has left
        start = {"type": f"{prefix}http.response.start", "status": status, "headers": [*named, *plain]}
        await send(cast("Any", start))
        await send(cast("Any", {"type": f"{prefix}http.response.body", "body": content, "more_body": False}))
    return status
