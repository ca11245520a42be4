"""Hand live events to all readers of this edge from one subscription (fan-out), each event once and in the log's order.

A live message is handed on if its sequence is the next one. After a gap, an outage, or now and then, the log is read
from the last event on, so that none is missed, and what comes a second time is dropped. Nothing is queued here.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from nats.js.errors import APIError

from contracts import subjects
from contracts.broker import REQUEST_WITHIN_S, Bus, Stored, Unavailable
from contracts.process import lifetime, log
from services.edge.live.log_pages import pages
from services.edge.live.previews import hear_previews
from services.edge.live.reader import Reader
from services.edge.live.readers import Readers
from services.edge.live.shown import shown

OF_LOG = subjects.ALL_EVENTS.removesuffix(">")
"""How the subject of every message of the log begins."""
CHECK_EVERY_S = 2.0
"""How often the log is asked for what was missed: the last event before a silence has no successor to show a gap."""
RETRY_PAUSE_S = 0.5
MEANWHILE_MAX = 256
MOVES = ("started", "released", "succeeded", "failed", "cancelled")
"""The kinds of events by which the places of waiting jobs change."""


class Hub:
    """The live events of one edge. `run` keeps it going until the edge ends; without readers it asks nothing.

    `draining` is set once the edge is stopping: all readers must leave then.
    """

    def __init__(self, broker: Bus, draining: asyncio.Event, *, readers_max: int) -> None:
        self._broker, self._draining, self.readers = broker, draining, Readers(readers_max)
        self._position: int | None = None
        """The sequence of the last event that was handed on; None while nobody reads."""
        self._located = asyncio.Event()
        self._gap = asyncio.Event()
        self._meanwhile: deque[Stored] = deque(maxlen=MEANWHILE_MAX)
        """Live messages that came while the log was being read."""
        self._reading = self._is_late = False

    @property
    def position(self) -> int:
        """Return the sequence of the last event that was handed on, for a reader who has joined; 0 for no reader."""
        return self._position or 0

    @asynccontextmanager
    async def joined(self, job_id: str | None, *, hears_moves: bool = False) -> AsyncGenerator[Reader, None]:
        """Yield a reader who gets every event that the log stores from now on, for the length of the block.

        Raises `Overloaded` at the limit of readers, and `Unavailable` if the broker does not answer in time.
        """
        reader = Reader(job_id, hears_moves=hears_moves)
        try:
            with self.readers.holding(reader):
                if self._position is None:
                    self._gap.set()
                if not await lifetime.wait_until_set(self._located, within_s=REQUEST_WITHIN_S):
                    raise Unavailable("the log of events does not answer")
                if self._draining.is_set():
                    reader.leave()
                yield reader
        finally:
            if not self.readers:
                self._position = None
                self._located.clear()

    async def run(self, stop: asyncio.Event) -> None:
        """Hear live messages, and read what was missed, until `stop`."""
        await self._broker.hear(subjects.ALL_LIVE, self._on_live, stop=stop)
        while not stop.is_set():
            renewed = self._broker.renewed
            self._gap.clear()
            if self.readers:
                await self._catch_up()
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_EVERY_S if self.readers else None):
                    await lifetime.wait_for_first(stop, self._gap, renewed)

    async def hear_previews(self) -> None:
        """Have readers get previews, as `previews.hear_previews` does."""
        await hear_previews(self._broker, self.readers)

    async def drain(self) -> None:
        """Have all readers leave once the edge is stopping, whatever the broker does."""
        await self._draining.wait()
        self.readers.send_away()

    def _on_live(self, message: Stored) -> None:
        """Hand on a live message if it is the next one; after a gap, have the log read."""
        if self._reading:
            self._meanwhile.append(message)
        elif self._position is None or message.sequence <= self._position or not message.subject.startswith(OF_LOG):
            return
        elif message.sequence == self._position + 1:
            self._hand_on(message)
        else:
            self._gap.set()

    async def _catch_up(self) -> None:
        """Hand on what the log has after the last event, then what came live meanwhile. Logs an outage, and pauses."""
        self._reading = True
        try:
            await self._read_on()
        except (Unavailable, APIError) as error:
            if not self._is_late:
                log.get().warning("live_events_delayed", error=str(error))
            self._is_late = True
            await asyncio.sleep(RETRY_PAUSE_S)
            self._gap.set()
        else:
            self._is_late = False
        finally:
            self._reading = False
            while self._meanwhile:
                self._on_live(self._meanwhile.popleft())

    async def _read_on(self) -> None:
        """Hand on what the log has after the last event. For the first reader, begin at the log's end."""
        there = (await self._broker.stream(subjects.EVENTS_STREAM)).state.last_seq
        if self._position is None or there < self._position:
            if self._position is not None:
                log.get().warning("log_begins_anew", last=there, known=self._position)
                self.readers.send_away()
            self._position = there if self.readers else None
        elif there > self._position:
            async for page in pages(self._broker, subjects.ALL_EVENTS, after=self._position):
                for message in page:
                    self._hand_on(message)
            if self._located.is_set():  # somebody still reads; what is missing up to there was deleted
                self._position = max(self._position, there)
        if self._position is not None:
            self._located.set()

    def _hand_on(self, message: Stored) -> None:
        """Offer the next event to its readers, and wake those whose places in the queue it may change."""
        if self._position is None:  # the last reader has left meanwhile
            return
        self._position = message.sequence
        if self.readers.any_for(subjects.job_id_of(message.subject)) and (event := shown(message)) is not None:
            self.readers.offer(event)
        if message.subject.rpartition(".")[2] in MOVES:
            self.readers.wake_for_moves()


@asynccontextmanager
async def running(hub: Hub) -> AsyncGenerator[Hub, None]:
    """Run a hub for the length of the block."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(hub.run(stop)),
            tasks.create_task(hub.drain()),
            tasks.create_task(hub.hear_previews()),
        ]
        try:
            yield hub
        finally:
            stop.set()
            for task in running:
                task.cancel()
