"""Materialises statuses: event → fold → compare-and-set → acknowledge. Decides nothing: a job is what its events say.

Safe with any number of instances, since a write goes through only over the very revision that was read. No message
stops the projection: what cannot be decoded, or makes a status that the broker refuses, is set aside and counted.
"""

import asyncio

from contracts import subjects, wire
from contracts.broker import Bus, Delivery, Refused, Stored, Unavailable, WrongSequence
from contracts.events import AnyEvent, Ending, EndingUnknown
from contracts.fold import fold, fold_all
from contracts.job_log import JobLog
from contracts.process import lifetime, log
from contracts.status import JobStatus
from services.state.records import Records

RETRY_PAUSE_S = 0.5
WRITES_MAX = 20
TTL_MIN_S = 1  # the broker takes no less
SUBJECT_CHARS_MAX = 300
ERROR_CHARS_MAX = 500


async def materialise(
    broker: Bus, job_log: JobLog, records: Records, *, retention_s: float, stop: asyncio.Event
) -> None:
    """Fold events until `stop`, and have a record kept of each ending.

    An event that cannot be read is set aside, loudly, and the stream goes on.
    """
    while not stop.is_set():
        delivery = await broker.pull(subjects.EVENTS_STREAM, subjects.STATE_DURABLE, stop=stop)
        if delivery is None:
            continue
        try:
            await _apply(broker, job_log, records, delivery, retention_s)
            await delivery.acknowledge()
        except Unavailable as error:  # not acknowledged: it comes again
            log.get().warning("event_not_applied", subject=delivery.subject, error=str(error))
            await lifetime.wait(stop, within_s=RETRY_PAUSE_S)


async def _apply(broker: Bus, job_log: JobLog, records: Records, delivery: Delivery, retention_s: float) -> None:
    try:
        event: AnyEvent | None = wire.event_in(delivery)
    except wire.Undecodable as error:
        await _set_aside(broker, delivery, error)
        event = wire.stand_in(delivery)
    if event is None:
        return
    for _ in range(WRITES_MAX):
        try:
            await _write_over(broker, job_log, event, retention_s)
        except WrongSequence:  # another instance was quicker: fold over what it wrote
            continue
        except Refused as error:  # too large, say: no later try would be taken either
            await _set_aside(broker, delivery, error)
        if isinstance(event, Ending):
            await records.keep(event)
        return
    raise Unavailable(f"{WRITES_MAX} writes of one status were overtaken")


async def _set_aside(broker: Bus, delivery: Delivery, error: Exception) -> None:
    """Log and count an event that no status can show, so that the projection goes on."""
    log.get().error("event_set_aside", subject=delivery.subject[:SUBJECT_CHARS_MAX], error=str(error)[:ERROR_CHARS_MAX])
    await broker.count_up(subjects.COUNTERS_BUCKET, subjects.EVENTS_SET_ASIDE)


async def _write_over(broker: Bus, job_log: JobLog, event: AnyEvent, retention_s: float) -> None:
    stored = await broker.get(subjects.STATUS_BUCKET, event.job_id)
    known = _readable(stored)
    ending = None
    if known is None or known.ended or isinstance(event, Ending | EndingUnknown):
        ending = await job_log.stored_ending(event.job_id)
    before = known or _forgotten(ending)
    after = fold(before, event)
    if stored is not None and after == before:
        return
    ttl_s = None if ending is None or not after.ended else int(ending.at + retention_s - await broker.now())
    if ttl_s is not None and ttl_s < TTL_MIN_S:
        if stored is None:
            return
        ttl_s = TTL_MIN_S  # ended long ago, unseen until now: what the bucket says of it is to go
    revision = 0 if stored is None else stored.sequence
    await broker.put(subjects.STATUS_BUCKET, event.job_id, wire.encode(after), revision=revision, ttl_s=ttl_s)
    if after.ended:
        log.get().info("status_ended", job_id=event.job_id, status=after.status)


def _readable(stored: Stored | None) -> JobStatus | None:
    try:
        return None if stored is None else wire.status_in(stored)
    except wire.Undecodable as error:
        log.get().error("status_unreadable", subject=stored and stored.subject, error=str(error))
        return None


def _forgotten(ending: Stored | None) -> JobStatus | None:
    """What a bucket without the job may have forgotten: its ending, so that a late event does not revive it."""
    return None if ending is None else fold_all([wire.ending_in(ending)])
