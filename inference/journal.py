"""A job's log in the broker, as rank 0 reads and writes it. Decides nothing."""

from contracts import subjects, wire
from contracts.bus import Bus, Expect, Stored
from contracts.events import Ending, Event
from inference.history import Past, past

PUBLISH_WITHIN_S = 30.0


class Journal:
    """Every method raises `Unavailable` where the broker does not answer in time."""

    def __init__(self, broker: Bus) -> None:
        self._broker = broker

    async def write(self, event: Event, *, expect: Expect | None = None, within_s: float = PUBLISH_WITHIN_S) -> None:
        """Publish it, once. Raises `WrongSequence` where somebody else was first."""
        await self._broker.publish(
            subjects.event(event),
            wire.encode(event),
            message_id=subjects.message_id(event),
            expect=expect,
            within_s=within_s,
        )

    async def past(self, job_id: str) -> tuple[Past, Stored | None]:
        """What came of the attempts so far, and the last start among them."""
        log_so_far = await self._broker.read(subjects.EVENTS_STREAM, subjects.events_of(job_id))
        last = await self.last_start(job_id)
        return _past(*log_so_far, last), last

    async def ending(self, job_id: str) -> Ending | None:
        stored = await self._broker.last(subjects.EVENTS_STREAM, subjects.endings_of(job_id))
        return None if stored is None else wire.ending_in(stored)

    async def last_start(self, job_id: str) -> Stored | None:
        return await self._broker.last(subjects.EVENTS_STREAM, subjects.starts_of(job_id))

    async def latest_attempt(self, job_id: str) -> int:
        """Its number; 0 for none."""
        return _past(await self.last_start(job_id)).latest


def _past(*stored: Stored | None) -> Past:
    return past(wire.readable_events(message for message in stored if message is not None))
