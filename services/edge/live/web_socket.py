"""Send the events of a job as text frames over a WebSocket (RFC 6455), for clients that cannot read event streams.

`app` gives every WebSocket to `with_web_sockets`. Each frame is JSON with `id`, `event` and `data`, as Server-Sent
Events have them. The socket is for reading: a client that sends a message is closed.
"""

import re
from collections.abc import Callable
from contextlib import aclosing, suppress
from typing import Any

import msgspec
from litestar.types import ASGIApp, Receive, Scope, Send

from contracts.broker import Unavailable
from contracts.process import log
from services.edge.errors import NotFound
from services.edge.http.sender import check_origin
from services.edge.live.follow import Follower, Told, Word
from services.edge.live.query import after_in
from services.edge.live.reader import Reader, leaving_with

PATH = "/video/ws/{job_id}"
"""The template of the route, as the log has it."""
_PATH = re.compile(r"/video/ws/([0-9a-f]{32})")
_FRAMES = {
    Word.RESYNC: '{"id":null,"event":"resync","data":{}}',
    Word.RECONNECT: '{"id":null,"event":"reconnect","data":{}}',
}
DONE, NOT_TAKEN, STOPPING, TOO_SLOW = 1000, 1003, 1012, 1013
"""Codes of a close: all events were sent; messages are not taken; the service restarts; try again later."""
_CODES = {Word.RESYNC: TOO_SLOW, Word.RECONNECT: STOPPING}

Refuse = Callable[[Exception], tuple[int, Any, dict[str, str]]]
"""Returns status, body and headers of the answer to an exception."""


def with_web_sockets(
    follower: Callable[[], Follower], origins: tuple[str, ...], refusal: Refuse, inner: ASGIApp
) -> ASGIApp:
    """Return the app with WebSockets answered. `follower` follows events; `origins` are the foreign ones allowed."""

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await inner(scope, receive, send)
            return
        try:
            job_id, after = _asked(scope, origins)
            socket = _Socket(follower(), job_id, after)
            await socket.serve(receive, send)
        except Exception as error:  # noqa: BLE001  # every exception has its answer
            await _refuse(send, *refusal(error))

    return outer


def _asked(scope: Any, origins: tuple[str, ...]) -> tuple[str, int | None]:
    """Return the job that a request is about, and the last event that its client has had, or None.

    Raises `NotFound`, `Invalid`, or 403 for a page of a foreign origin.
    """
    match = _PATH.fullmatch(scope["path"])
    if match is None:
        raise NotFound("there is no such WebSocket; a job's is at /video/ws/{id}")
    scope["path_template"] = PATH
    log.bind(job_id=match[1])
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    check_origin(headers, origins)
    return match[1], after_in(headers.get("last-event-id"), scope["query_string"])


class _Socket:
    """A WebSocket, from its request to its close."""

    def __init__(self, follower: Follower, job_id: str, after: int | None) -> None:
        self._follower, self._job_id, self._after = follower, job_id, after
        self._client_spoke = False

    async def serve(self, receive: Receive, send: Send) -> None:
        """Accept the socket, and send events until the job's ending. Raises what `EventStream` raises, before that."""

        async def heard() -> Any:
            message = await receive()
            self._client_spoke = message["type"] == "websocket.receive"
            return message

        await receive()  # the request
        after = await self._follower.known(self._after)
        is_over = await self._follower.is_over(self._job_id, after)
        async with self._follower.hub.joined(self._job_id) as reader, leaving_with(heard, reader):
            await send({"type": "websocket.accept", "subprotocol": None, "headers": []})
            with suppress(OSError):  # the client has left
                code = DONE
                if not is_over:
                    code = await self._tell(send, reader, after)
                await send({"type": "websocket.close", "code": code, "reason": ""})

    async def _tell(self, send: Send, reader: Reader, after: int | None) -> int:
        """Send events until there are no more, and return the code of the close."""
        try:
            async with aclosing(self._follower.follow(reader, after)) as told:
                async for each in told:
                    if self._client_spoke:
                        return NOT_TAKEN
                    for frame in _frames(each):
                        await send({"type": "websocket.send", "text": frame, "bytes": None})
                    if isinstance(each, Word) and each in _CODES:
                        return _CODES[each]
        except Unavailable as error:
            log.get().warning("stream_cut_off", error=str(error))
            return TOO_SLOW
        return DONE


def _frames(told: Told) -> list[str]:
    """Return what a reader is told as texts of frames. Pings are the sign of life."""
    if isinstance(told, list):
        return [event.as_frame for event in told]
    return [_FRAMES[told]] if told in _FRAMES else []


async def _refuse(send: Send, status: int, body: Any, headers: dict[str, str]) -> None:
    """Answer a request for a WebSocket with a refusal, in place of the upgrade."""
    named = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    with suppress(OSError):
        kind = (b"content-type", b"application/json")
        await send({"type": "websocket.http.response.start", "status": status, "headers": [*named, kind]})  # pyright: ignore[reportArgumentType]
        body = msgspec.json.encode(body)
        await send({"type": "websocket.http.response.body", "body": body, "more_body": False})  # pyright: ignore[reportArgumentType]
