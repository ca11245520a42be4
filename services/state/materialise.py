"""Materialise the projection of the log, one status per job: events → fold → compare-and-set → acknowledge.

Events come in batches: of one event if one was published, of `EVENTS_HELD_MAX` if that many wait. A batch is grouped by
job, and each job's status is written once. Events come at least once and in any order, to any instance, and `statuses`
makes that safe. A poison message does not stop the projection: an event that cannot be decoded, or makes a status that
the broker refuses, is set aside and counted.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager

from msgspec import Struct

from contracts import subjects, wire
from contracts.answers import is_answer
from contracts.broker import Bus, Delivery, Refused, Unavailable, extending_ack_waits
from contracts.events import AnyEvent, Ending, JobReleased, JobStarted, JobSubmitted
from contracts.job_log import JobLog
from contracts.process import lifetime, log, tracing
from services.state.deletions import Deletions
from services.state.own_numbers import FOLDED, PUT_OFF, SET_ASIDE, StateNumbers
from services.state.records import Records
from services.state.statuses import StatusWriter

EVENTS_HELD_MAX = 512
"""Events that one instance has been given and has not acknowledged, and so the largest batch."""
JOBS_AT_ONCE = 64
RETRY_PAUSE_S = 0.5
TRACED = (JobSubmitted, JobStarted, JobReleased, *Ending.__args__)
SUBJECT_CHARS_MAX = 300
ERROR_CHARS_MAX = 500
NOT_PUBLISHED = "an answer of the broker, which somebody had sent here; it is deleted"


class Pulled(Struct, frozen=True):
    """An event, or the stand-in of one that cannot be decoded, and the delivery that brought it."""

    event: AnyEvent
    delivery: Delivery


async def materialise(
    broker: Bus,
    job_log: JobLog,
    records: Records,
    numbers: StateNumbers,
    *,
    retention_s: float,
    stop: asyncio.Event,
) -> None:
    """Fold events into the status bucket until `stop` is set, and have `records` keep a record of each ending.

    A status expires from the bucket `retention_s` after the job's ending. Events that cannot be folded now, since the
    broker does not answer, are logged and delivered again. What is folded is counted in `numbers`.
    """
    statuses, deletions = StatusWriter(broker, job_log, retention_s), Deletions(broker, job_log)
    projection = Projection(broker, statuses, records, deletions, numbers)
    while not stop.is_set():
        async with broker.pulling(
            subjects.EVENTS_STREAM, subjects.STATE_DURABLE, limit=EVENTS_HELD_MAX, stop=stop
        ) as pull:
            while batch := await pull.take():
                began = time.monotonic()
                try:
                    await projection.apply(batch)
                    numbers.folded(time.monotonic() - began)
                except Unavailable as error:  # not acknowledged, so the events are delivered again
                    numbers.batch_s.observe(time.monotonic() - began, PUT_OFF)
                    subject = batch[0].subject[:SUBJECT_CHARS_MAX]
                    log.get().warning("event_not_applied", subject=subject, error=str(error), batch=len(batch))
                    await lifetime.wait_until_set(stop, within_s=RETRY_PAUSE_S)


class Projection:
    """The statuses and records that follow from the log. One for each `materialise`."""

    def __init__(
        self,
        broker: Bus,
        statuses: StatusWriter,
        records: Records,
        deletions: Deletions,
        numbers: StateNumbers,
    ) -> None:
        self._broker, self._statuses, self._records, self._deletions = broker, statuses, records, deletions
        self._numbers = numbers

    async def apply(self, batch: Sequence[Delivery]) -> None:
        """Fold a batch of events into statuses and records, and acknowledge what is written, together.

        Raises `Unavailable` if some of it is not: those events stay unacknowledged. After the first failure no further
        job is begun.
        """
        async with extending_ack_waits(lambda: batch):
            groups = _by_job(await self._decoded(batch))
            turns, failures = asyncio.Semaphore(JOBS_AT_ONCE), list[Unavailable]()
            unapplied = set[Delivery]()

            async def apply(group: Sequence[Pulled]) -> None:
                async with turns:
                    try:
                        if failures:
                            raise failures[0]
                        with _traced(group):
                            await self._apply(group)
                    except Unavailable as error:
                        failures.append(error)
                        unapplied.update(each.delivery for each in group)

            async with asyncio.TaskGroup() as jobs:
                for group in groups:
                    jobs.create_task(apply(group))
            await self._broker.acknowledge_all(delivery for delivery in batch if delivery not in unapplied)
        self._numbers.events.add(FOLDED, by=len(batch) - len(unapplied))
        self._numbers.events.add(PUT_OFF, by=len(unapplied))
        if failures:
            raise failures[0]

    async def _decoded(self, batch: Sequence[Delivery]) -> list[Pulled]:
        """Return the events of a batch in its order, and set aside those that cannot be decoded. Raises `Unavailable`.

        An ending, or a newer version's submission, has a stand-in all the same. An answer of the broker has none, and
        is deleted: it would keep the job's own ending out of the log.
        """
        pulled: list[Pulled] = []
        for delivery in batch:
            if is_answer(delivery):
                await self._set_aside(delivery, NOT_PUBLISHED)
                await self._broker.delete(subjects.EVENTS_STREAM, delivery.sequence)
                continue
            try:
                event: AnyEvent | None = wire.event_in(delivery)
            except wire.Undecodable as error:
                await self._set_aside(delivery, error)
                event = wire.stand_in(delivery)
            if event is not None:
                pulled.append(Pulled(event, delivery))
        return pulled

    async def _apply(self, group: Sequence[Pulled]) -> None:
        """Fold events of one job into its status, and have its record written if an ending is among them.

        If the job is deleted, have it purged instead, however late the events are.

        If the broker refuses the status they are folded one by one, and those that it refuses are set aside. Raises
        `Unavailable`.
        """
        try:
            if not await self._statuses.fold_in([each.event for each in group]):
                await self._deletions.purge(group[0].event.job_id)
                return
        except Refused as error:
            if len(group) > 1:
                for each in group:
                    await self._apply([each])
                return
            await self._set_aside(group[0].delivery, error)
        for each in group:
            if isinstance(each.event, Ending):
                await self._records.write_unless_video(each.event)

    async def _set_aside(self, delivery: Delivery, error: Exception | str) -> None:
        """Log and count a poison message, so that the projection goes on without it. Raises `Unavailable`."""
        subject, why = delivery.subject[:SUBJECT_CHARS_MAX], str(error)[:ERROR_CHARS_MAX]
        self._numbers.events.add(SET_ASIDE)
        log.get().error("event_set_aside", subject=subject, error=why)
        await self._broker.count_up(subjects.COUNTERS_BUCKET, subjects.EVENTS_SET_ASIDE)


def _by_job(pulled: Iterable[Pulled]) -> list[list[Pulled]]:
    """Return events grouped by job, each group in the order of the events."""
    groups: dict[str, list[Pulled]] = {}
    for each in pulled:
        groups.setdefault(each.event.job_id, []).append(each)
    return list(groups.values())


def _traced(group: Sequence[Pulled]) -> AbstractContextManager[object]:
    """Go on with the trace of a job while its events are folded, in a span if they change how the job stands.

    Events that only tell of progress have no span: a job has a hundred of them.
    """
    telling = [each for each in group if isinstance(each.event, TRACED)]
    last = (telling or group)[-1].delivery.traceparent
    if telling and tracing.is_on() and tracing.accepted(last) is not None:
        about = {tracing.JOB_ID: telling[-1].event.job_id, "wanjet.event": type(telling[-1].event).__name__}
        return tracing.span("fold", about, parent=last, kind="consumer")
    return tracing.joined(last)
