"""Follow one job, or all, for one reader: first what the log has after the reader's last event, then what comes live.

`sse` and `web_socket` send what `follow` yields. The reader joins the hub before the log is read, and what comes both
ways is dropped by its sequence: so no event is missed, and none comes twice.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from contracts import subjects
from contracts.broker import Bus
from services.edge.auth.caller import Caller
from services.edge.errors import NotFound
from services.edge.jobs import Jobs
from services.edge.live.hub import Hub
from services.edge.live.log_pages import pages
from services.edge.live.reader import Reader
from services.edge.live.shown import LiveEvent, shown
from services.edge.live.viewers import Viewer, Viewers

ALIVE_EVERY_S = 15.0
"""After how long a silence a reader is sent a sign of life: below the 60 s of most proxies."""
REPLAYED_MAX = 10_000
"""How many events of the log one connection gets; the next one goes on from there."""


class Word(Enum):
    """Words that a reader is told beside events."""

    ALIVE = auto()
    """Nothing has happened, and the connection still stands."""
    RESYNC = auto()
    """The reader was too slow, or has had its share of the log. The last word: come again with the last id."""
    RECONNECT = auto()
    """This edge is stopping. The last word: come again, to another edge, with the last id."""


class Passed(NamedTuple):
    """The sequence up to which a reader of all jobs has had every event that it may see, past its last event.

    Told ahead of a `Word`: else a reader whose jobs are few would go on from its own last event, for ever short of its
    next one if more events of others lie between than one connection gets.
    """

    sequence: int


Told = list[LiveEvent] | Word | Passed


@dataclass
class _Place:
    """Progress of one reader: the sequence of the last event, how many more the log may give, whether all is told.

    `viewer` is who reads, if that is not one job.
    """

    after: int
    viewer: Viewer | None
    left: int
    is_last: bool = False


class Follower:
    """Follows events for the readers of one edge. One for the process."""

    def __init__(self, broker: Bus, hub: Hub, jobs: Jobs, viewers: Viewers) -> None:
        self._broker, self.hub, self._jobs, self._viewers = broker, hub, jobs, viewers

    def viewer(self, caller: Caller) -> Viewer:
        """Return a caller as one who follows all jobs. Raises the answer 403 to a caller who may not."""
        return self._viewers.viewer(caller)

    async def known(self, after: int | None) -> int | None:
        """Return the sequence after which a reader goes on; None if the log has not got there.

        Such a sequence comes from a log that was lost: the reader has had nothing of this one. Raises `Unavailable`.
        """
        if after is None or after <= self.hub.position:
            return after
        there = (await self._broker.stream(subjects.EVENTS_STREAM)).state.last_seq
        return after if after <= there else None

    async def is_over(self, job_id: str, after: int | None) -> bool:
        """Return whether a job has ended and a reader who has had all events up to `after` has had its ending too.

        Also for a job that is known to have ended, and whose events the log has forgotten. Raises `NotFound` for a job
        that nobody knows, and `Unavailable`.
        """
        status = await self._jobs.status_or_none(job_id)
        if status is None:
            raise NotFound("no such job, or it ended too long ago")
        ending = await self._broker.last(subjects.EVENTS_STREAM, subjects.endings_of(job_id))
        return status.ended if ending is None else after is not None and ending.sequence <= after

    async def follow(
        self, reader: Reader, after: int | None, viewer: Viewer | None = None
    ) -> AsyncGenerator[Told, None]:
        """Yield what a reader who has joined the hub is to be told, until the job's ending or a last word.

        `after` is the sequence of the last event that the reader has had. Without it, the events of one job are told
        from the first on, and those of all jobs from now on. `viewer` is who follows all jobs, None for a reader of one
        job. Raises `Unavailable` if the broker does not answer in time, or a store cannot be asked whose a job is.
        """
        now = self.hub.position if reader.job_id is None else 0
        place = _Place(now if after is None else after, viewer, left=REPLAYED_MAX)
        known = after  # the last sequence that the reader has been told
        for part in (self._past(reader, place), self._live(reader, place)):
            async with aclosing(part):
                async for told in part:
                    if isinstance(told, list):
                        known = max([known or 0, *(event.sequence or 0 for event in told)])
                    elif viewer is not None and (known is None or known < place.after):
                        known = place.after
                        yield Passed(known)
                    yield told
            if place.is_last:
                return

    async def _past(self, reader: Reader, place: _Place) -> AsyncGenerator[Told, None]:
        """Yield what the log has after a place. If the reader's queue runs over meanwhile, read on until it does not.

        After `REPLAYED_MAX` events the last word is `RESYNC`.
        """
        while place.left > 0 and not reader.must_leave:
            reader.begin()
            async with aclosing(pages(self._broker, _pattern(reader), after=place.after)) as found:
                async for page in found:
                    told = await self._visible([event for event in map(shown, page) if event is not None], place)
                    if told:
                        yield told
                    place.after, place.left = page[-1].sequence, place.left - len(page)
                    if place.is_last or place.left <= 0 or reader.must_leave:
                        break
            if place.is_last or not reader.fell_behind:
                break
        if place.left <= 0 and not place.is_last:
            place.is_last = True
            yield Word.RESYNC

    async def _live(self, reader: Reader, place: _Place) -> AsyncGenerator[Told, None]:
        """Yield what comes live after a place, as `follow` does."""
        loop = asyncio.get_running_loop()
        silent_since = loop.time()
        while not place.is_last:
            events = await reader.take(within_s=max(0.0, silent_since + ALIVE_EVERY_S - loop.time()))
            if reader.must_leave or reader.fell_behind:
                place.is_last = True
                yield Word.RECONNECT if reader.must_leave else Word.RESYNC
                return
            new = [event for event in events if event.sequence is None or event.sequence > place.after]
            told = await self._visible(new, place)
            place.after = max([place.after, *(event.sequence or 0 for event in new)])
            if told or loop.time() >= silent_since + ALIVE_EVERY_S:
                yield told or Word.ALIVE
                silent_since = loop.time()

    async def _visible(self, events: list[LiveEvent], place: _Place) -> list[LiveEvent]:
        """Return the events that a reader may see; of one job those up to its ending, with which all is told."""
        if place.viewer is not None:
            return await place.viewer.seen(events)
        end = next((at for at, event in enumerate(events) if event.ends), None)
        if end is None:
            return events
        place.is_last = True
        return events[: end + 1]


def _pattern(reader: Reader) -> str:
    """Return the pattern of the events that a reader follows."""
    return subjects.ALL_EVENTS if reader.job_id is None else subjects.events_of(reader.job_id)
