"""The queue of one reader of live events, bounded in number and in bytes (backpressure). `hub` fills, `follow` empties.

A reader who falls behind loses the whole queue, and is told so: the log has every event, and the reader knows the last
one that came.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from litestar.types import Receive

from services.edge.live.shown import LiveEvent

EVENTS_MAX = 256
BYTES_MAX = 256 * 1024
"""Events are shared by all their readers, so this much is rarely taken."""


class Reader:
    """Queue of the events that one reader has not taken yet. Lives as long as its block of `Hub.joined`.

    `job_id` is the job that is followed, None for all jobs. `hears_moves` also has it woken, without an event, when any
    job enters or leaves the queue, by which the places of others change.
    """

    def __init__(self, job_id: str | None, *, hears_moves: bool = False) -> None:
        self.job_id, self.hears_moves = job_id, hears_moves
        self.fell_behind = False
        """Whether events were dropped since `begin`."""
        self.must_leave = False
        """Whether the client has left, or the edge is stopping, or its log is another one now."""
        self._events: deque[LiveEvent] = deque()
        self._bytes = 0
        self._woken = asyncio.Event()

    def begin(self) -> None:
        """Empty the queue, and forget that events were dropped: the log is about to be read."""
        self._clear()
        self.fell_behind = False

    def offer(self, event: LiveEvent) -> None:
        """Queue an event. Without room, drop all that is queued, and this and all later events until `begin`."""
        if not self.fell_behind:
            self._events.append(event)
            self._bytes += len(event.data)
            if len(self._events) > EVENTS_MAX or self._bytes > BYTES_MAX:
                self._clear()
                self.fell_behind = True
        self._woken.set()

    def offer_passing(self, event: LiveEvent) -> None:
        """Queue an event that may be missed, unless others wait, or only changes of a status are waited for."""
        if not (self._events or self.fell_behind or self.hears_moves):
            self.offer(event)

    def wake(self) -> None:
        """End a wait of `take`."""
        self._woken.set()

    def leave(self) -> None:
        """Note that this reader must leave, and end its wait."""
        self.must_leave = True
        self._woken.set()

    async def take(self, *, within_s: float) -> list[LiveEvent]:
        """Return the queued events, none after a wait of `within_s` or if the reader is woken for another reason."""
        if not self._events and not self.must_leave and not self.fell_behind:
            with suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._woken.wait()
        self._woken.clear()
        taken = list(self._events)
        self._clear()
        return taken

    def _clear(self) -> None:
        self._events.clear()
        self._bytes = 0


@asynccontextmanager
async def leaving_with(receive: Receive, reader: Reader) -> AsyncGenerator[None, None]:
    """Have a reader leave as soon as the client's connection ends, for the length of the block."""
    watching = asyncio.create_task(_watch(receive, reader))
    try:
        yield
    finally:
        watching.cancel()


async def _watch(receive: Receive, reader: Reader) -> None:
    """Read and drop the body of a request; have the reader leave at whatever else comes, such as the client's end."""
    try:
        while (await receive())["type"] == "http.request":
            pass
    except asyncio.CancelledError:
        raise
    except BaseException:  # noqa: BLE001  # the client has left in the midst of a body
        return
    finally:
        reader.leave()
