"""Count the events of the log for the whole service, as long as this process holds the lock.

The counts stand in a bucket together with the sequence of the last event that is counted, and are written by
compare-and-set. So an event counts once, whoever reads it, however often it is read and whatever dies in between: what
was read and not yet written is read again, and a process that lost the lock without noticing cannot write.
"""

import asyncio
import copy
from contextlib import aclosing

import msgspec
from nats.js.errors import APIError

from contracts import subjects, wire
from contracts.answers import is_answer
from contracts.broker import Bus, Delivery, Refused, Stored, Unavailable
from contracts.broker.following import follow
from contracts.events import JobStarted
from contracts.job_log import JobLog
from contracts.process import lifetime, log
from contracts.process.reasons import Reasons
from services.state.numbers.counts import (
    ENDINGS,
    NO_MODEL,
    UNKNOWN_MODEL,
    Accepted,
    Begun,
    Counts,
    Ended,
    Fact,
    Released,
    anew,
    counted,
)
from services.state.numbers.lock import Lock

COUNTED = (subjects.ALL_SUBMISSIONS, subjects.ALL_STARTS, subjects.ALL_RELEASES, subjects.ALL_ENDINGS)
WRITE_EVERY_S = 1.0
"""The pause between two batches: what comes meanwhile is counted together, by one write."""
RETRY_PAUSE_S = 2.0
UNKNOWN_ENDING = "unknown"


class Counting:
    """The counts that this process reads or keeps. One for the process; `run` keeps them up."""

    def __init__(self, broker: Bus, job_log: JobLog, lock: Lock) -> None:
        self._broker, self._log, self._lock = broker, job_log, lock
        self._revision = 0
        self.counts: Counts | None = None
        """The counts as they were last written or read by this process; None while it does not hold the lock."""

    async def run(self, stop: asyncio.Event) -> None:
        """Count while this process holds the lock, until `stop`. Failures are logged once for each reason."""
        reasons = Reasons()
        while not stop.is_set():
            await lifetime.wait_for_first(self._lock.taken, stop)
            try:
                await self._count()
                reasons.over()
            except (Unavailable, Refused, APIError) as error:
                if reasons.is_new(str(error)):
                    log.get().warning("numbers_put_off", error=str(error))
                await lifetime.wait_until_set(stop, within_s=RETRY_PAUSE_S)
            finally:
                self.counts = None

    async def _count(self) -> None:
        """Go on from the stored counts until the lock is lost. Raises `Unavailable`, `Refused` or `APIError`."""
        counts = self.counts = await self._stored()
        lost, last = self._lock.lost, counts.sequence
        async with aclosing(follow(self._broker, subjects.EVENTS_STREAM, COUNTED, after=last, stop=lost)) as batches:
            async for batch in batches:
                counts = copy.deepcopy(counts)
                for delivery in batch:
                    if (fact := await self._fact(delivery)) is not None:
                        counted(counts, fact)
                    counts.sequence = delivery.sequence
                self._revision = await self._broker.put(
                    subjects.NUMBERS_BUCKET,
                    subjects.NUMBERS_COUNTS,
                    msgspec.json.encode(counts),
                    revision=self._revision,
                )
                self.counts = counts
                await lifetime.wait_until_set(lost, within_s=WRITE_EVERY_S)

    async def _stored(self) -> Counts:
        """Return the counts in the broker, asked of the leader; none for a log that is not the one they are of.

        Raises `Unavailable`, or `NotFoundError` without a log.
        """
        bucket = subjects.bucket_stream(subjects.NUMBERS_BUCKET)
        key = subjects.bucket_key(subjects.NUMBERS_BUCKET, subjects.NUMBERS_COUNTS)
        there = await self._broker.last(bucket, key)
        self._revision = 0 if there is None else there.sequence
        created = (await self._log.info()).created
        return anew(_readable(there), str(created))

    async def _fact(self, delivery: Delivery) -> Fact | None:
        """Return what an event says that is counted; None for one that cannot be read. Raises `Unavailable`."""
        if is_answer(delivery):
            return None
        match delivery.subject.split(".")[3:]:
            case ["submitted"]:
                return Accepted()
            case ["started"]:
                return await self._begun(delivery)
            case ["released"]:
                return Released()
            case ["finished", ending]:
                return await self._ended(delivery, ending if ending in ENDINGS else UNKNOWN_ENDING)
            case _:
                return None

    async def _begun(self, delivery: Delivery) -> Begun | None:
        """Return an attempt's beginning; the first one's with the time since the submission, by the broker's clock."""
        if (started := _start_in(delivery.data)) is None:
            return None
        submitted = None
        if started.attempt == 1:
            submitted = await self._log.stored_submission(subjects.job_id_of(delivery.subject))
        waited_s = None if submitted is None else delivery.at - submitted.at
        return Begun(started.model or UNKNOWN_MODEL, waited_s)

    async def _ended(self, delivery: Delivery, ending: str) -> Ended:
        """Return a job's ending, with its model and the time since its first start, by the broker's clock."""
        starts = subjects.starts_of(subjects.job_id_of(delivery.subject))
        last = await self._broker.last(subjects.EVENTS_STREAM, starts)
        if last is None or (started := _start_in(last.data)) is None:
            return Ended(ending, NO_MODEL if last is None else UNKNOWN_MODEL, None)
        first = last
        if started.attempt > 1:
            first = next(iter(await self._broker.read(subjects.EVENTS_STREAM, starts)), last)
        return Ended(ending, started.model or UNKNOWN_MODEL, delivery.at - first.at)


def _start_in(data: bytes) -> JobStarted | None:
    """Return the start that a message holds; None if this version cannot read it: state sets it aside, and logs it."""
    try:
        event = wire.decode_event(data)
    except wire.Undecodable:
        return None
    return event if isinstance(event, JobStarted) else None


def _readable(stored: Stored | None) -> Counts | None:
    """Return stored counts; None if there are none, or, with an error logged, if they cannot be read."""
    try:
        return None if stored is None or not stored.data else msgspec.json.decode(stored.data, type=Counts)
    except msgspec.DecodeError as error:
        log.get().error("numbers_unreadable", error=str(error))
        return None
