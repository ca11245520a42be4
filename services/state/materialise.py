"""Materialise the projection of the log, one status per job: event → fold → compare-and-set → acknowledge.

Optimistic concurrency makes any number of instances safe: a write succeeds only over the revision that was read. Events
come at least once, and folding one twice changes nothing. A poison message does not stop the projection: an event that
cannot be decoded, or makes a status that the broker refuses, is set aside and counted.
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
    """Fold events into the status bucket until `stop` is set, and have `records` keep a record of each ending.

    A status expires from the bucket `retention_s` after the job's ending. An event that cannot be folded now, since the
    broker does not answer, is logged and delivered again.
    """
    while not stop.is_set():
        delivery = await broker.pull(subjects.EVENTS_STREAM, subjects.STATE_DURABLE, stop=stop)
        if delivery is None:
            continue
        try:
            await _apply(broker, job_log, records, delivery, retention_s)
            await delivery.acknowledge()
        except Unavailable as error:  # not acknowledged, so the event is delivered again
            log.get().warning("event_not_applied", subject=delivery.subject, error=str(error))
            await lifetime.wait(stop, within_s=RETRY_PAUSE_S)


async def _apply(broker: Bus, job_log: JobLog, records: Records, delivery: Delivery, retention_s: float) -> None:
    """Fold one event into its job's status, and have its record written if it is an ending; set aside a poison message.

    Raises `Unavailable`, also if other instances write first `WRITES_MAX` times.
    """
    try:
        event: AnyEvent | None = wire.event_in(delivery)
    except wire.Undecodable as error:
        await _set_aside(broker, delivery, error)
        event = wire.stand_in(delivery)
    if event is None:
        return
    for _ in range(WRITES_MAX):
        try:
            await _fold_into_bucket(broker, job_log, event, retention_s)
        except WrongSequence:  # another instance has written: fold over its status
            continue
        except Refused as error:  # too large, for example: the broker would refuse every later try too
            await _set_aside(broker, delivery, error)
        if isinstance(event, Ending):
            await records.write_without_video(event)
        return
    raise Unavailable(f"{WRITES_MAX} writes of one status were overtaken")


async def _set_aside(broker: Bus, delivery: Delivery, error: Exception) -> None:
    """Log and count a poison message, so that the projection goes on without it. Raises `Unavailable`."""
    log.get().error("event_set_aside", subject=delivery.subject[:SUBJECT_CHARS_MAX], error=str(error)[:ERROR_CHARS_MAX])
    await broker.count_up(subjects.COUNTERS_BUCKET, subjects.EVENTS_SET_ASIDE)


async def _fold_into_bucket(broker: Bus, job_log: JobLog, event: AnyEvent, retention_s: float) -> None:
    """Fold an event over the stored status, and write the result if it differs.

    A job that ended more than `retention_s` ago gets no new status, and an old one expires at once. Raises
    `WrongSequence` if another instance has written since the status was read, another `Refused`, or `Unavailable`.
    """
    stored = await broker.get(subjects.STATUS_BUCKET, event.job_id)
    known = _readable(stored)
    ending = None
    if known is None or known.ended or isinstance(event, Ending | EndingUnknown):
        ending = await job_log.stored_ending(event.job_id)
    before = known or _rebuilt_from(ending)
    after = fold(before, event)
    if stored is not None and after == before:
        return
    ttl_s = None if ending is None or not after.ended else int(ending.at + retention_s - await broker.now())
    if ttl_s is not None and ttl_s < TTL_MIN_S:
        if stored is None:
            return
        ttl_s = TTL_MIN_S  # the job ended long ago, which is seen only now: its status is to expire
    revision = 0 if stored is None else stored.sequence
    await broker.put(subjects.STATUS_BUCKET, event.job_id, wire.encode(after), revision=revision, ttl_s=ttl_s)
    if after.ended:
        log.get().info("status_ended", job_id=event.job_id, status=after.status)


def _readable(stored: Stored | None) -> JobStatus | None:
    """Return a stored status; None if there is none, or, with an error logged, if this version cannot read it."""
    try:
        return None if stored is None else wire.status_in(stored)
    except wire.Undecodable as error:
        log.get().error("status_unreadable", subject=stored and stored.subject, error=str(error))
        return None


def _rebuilt_from(ending: Stored | None) -> JobStatus | None:
    """Return the status of a job as far as its ending alone tells it; None without an ending.

    It stands in for a status that has expired from the bucket. Folded over it, a late event cannot make an ended job
    InProgress again.
    """
    return None if ending is None else fold_all([wire.ending_in(ending)])
