"""Read a part of the log page by page, up to an end that the stream's leader confirms. `hub` and `follow` use it.

A page is a direct get, which any replica answers, and a replica may lag. So the leader is asked for the last message,
and a page is read again until that message, or a later one, has been seen.
"""

import asyncio
from collections.abc import AsyncGenerator

from contracts import subjects
from contracts.broker import REQUEST_WITHIN_S, Bus, Stored, Unavailable

LAGGING_PAUSE_S = 0.1


async def pages(broker: Bus, pattern: str, *, after: int) -> AsyncGenerator[list[Stored], None]:
    """Yield the log's messages on a pattern after a sequence, in order: all that the leader has at some later moment.

    Raises `Unavailable` if the broker does not answer in time, or no replica catches up with the leader.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + REQUEST_WITHIN_S
    while True:
        found, left = await broker.page(subjects.EVENTS_STREAM, pattern, after=after)
        if found:
            after, deadline = found[-1].sequence, loop.time() + REQUEST_WITHIN_S
            yield found
        if left:
            continue
        last = await broker.last(subjects.EVENTS_STREAM, pattern)
        if last is None or last.sequence <= after:
            return
        if loop.time() > deadline:
            raise Unavailable(f"no replica of {subjects.EVENTS_STREAM} has its last messages")
        if not found:
            await asyncio.sleep(LAGGING_PAUSE_S)
