"""Send events as Server-Sent Events (`text/event-stream`, by the HTML standard), with `Last-Event-ID`.

`live_routes` makes an `EventStream` for each request, which is the answer: an ASGI app. What is refused is raised
before the answer begins.
"""

import secrets
from contextlib import aclosing

from litestar.types import Receive, Scope, Send

from contracts.broker import Unavailable
from contracts.process import log
from services.edge.live.follow import Follower, Passed, Told, Word
from services.edge.live.reader import leaving_with
from services.edge.live.viewers import Viewer

RETRY_MS = 2000
"""After how long a client connects again, if the connection breaks."""
RECONNECT_MS_MIN, RECONNECT_MS_MAX = 100, 1000
"""If the edge is stopping: drawn for each client, so that all of them do not come to another edge at once."""

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would collect events
]
_WORDS = {Word.ALIVE: b": keep-alive\n\n", Word.RESYNC: b"event: resync\ndata: {}\n\n"}


class EventStream:
    """The answer to one request for events: of a job, or, without a `job_id`, of all that `viewer` may see.

    Begins with the call.
    """

    def __init__(
        self, follower: Follower, job_id: str | None, *, after: int | None, viewer: Viewer | None = None
    ) -> None:
        self._follower, self._job_id, self._after, self._viewer = follower, job_id, after, viewer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 200 and send events until the job's ending; 204, on which browsers stop, if all events were sent.

        Raises what `Follower.known`, `Follower.is_over` and `Hub.joined` raise.
        """
        after = await self._follower.known(self._after)
        if self._job_id is not None and await self._follower.is_over(self._job_id, after):
            await _begin(send, 204, [])
            await _send(send, b"", more=False)
            return
        async with self._follower.hub.joined(self._job_id) as reader, leaving_with(receive, reader):
            await _begin(send, 200, _HEADERS)
            if scope["type"] == "http" and scope["method"] == "GET":
                await _send(send, b"retry: %d\n\n" % RETRY_MS)
                try:
                    async with aclosing(self._follower.follow(reader, after, self._viewer)) as told:
                        async for each in told:
                            await _send(send, _text(each))
                except Unavailable as error:
                    log.get().warning("stream_cut_off", error=str(error))
                    await _send(send, _WORDS[Word.RESYNC])
            await _send(send, b"", more=False)


def _text(told: Told) -> bytes:
    """Return what a reader is told as blocks of the stream."""
    if isinstance(told, list):
        return b"".join(event.as_sse for event in told)
    if isinstance(told, Passed):
        return b"id: %d\n\n" % told.sequence
    if told is Word.RECONNECT:
        wait_ms = RECONNECT_MS_MIN + secrets.randbelow(RECONNECT_MS_MAX - RECONNECT_MS_MIN)
        return b"retry: %d\nevent: reconnect\ndata: {}\n\n" % wait_ms
    return _WORDS[told]


async def _begin(send: Send, status: int, headers: list[tuple[bytes, bytes]]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def _send(send: Send, body: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})
