"""The status bucket as the state service writes it: fold events over a job's status by compare-and-set.

Optimistic concurrency makes any number of instances safe: a write succeeds only over the revision that was read. To
fold an event twice changes nothing, nor does their order. A status that this process wrote last is written over without
a read: the revision shows whether it is still there.
"""

from collections.abc import Sequence
from contextlib import suppress

from contracts import subjects, wire
from contracts.broker import Bus, Stored, Unavailable, WrongSequence
from contracts.events import AnyEnding, AnyEvent
from contracts.fold import fold, fold_all
from contracts.job_deletion import is_deletion
from contracts.job_log import JobLog
from contracts.process import log
from contracts.recent import Recent
from contracts.status import JobStatus

WRITES_MAX = 20
TTL_MIN_S = 1  # the broker takes no less
REMEMBERED_MAX = 512
"""Jobs whose status is remembered as it was written; far more than run at once."""


class StatusWriter:
    """The statuses in the bucket. One for the process.

    A status expires from the bucket `retention_s` after its job's ending, by the broker's clock.
    """

    def __init__(self, broker: Bus, job_log: JobLog, retention_s: float) -> None:
        self._broker, self._log, self._retention_s = broker, job_log, retention_s
        self._written = Recent[str, tuple[JobStatus, int]](REMEMBERED_MAX)
        """By job, the status that was written last, and its revision; only of jobs that have not ended."""

    async def fold_in(self, events: Sequence[AnyEvent]) -> bool:
        """Fold events of one job, one at least, over its stored status, by one write if that changes it.

        Return False, and write nothing, if the job is deleted: its status is to be purged.

        Raises `Unavailable`, also if other instances write first `WRITES_MAX` times, and `Refused` if the broker will
        not store the status, for example because it is too large: it would refuse every later try too.
        """
        job_id = events[0].job_id
        if (written := self._written.pop(job_id, None)) is not None:
            before, revision = written
            after = _folded(before, events)
            if after != before and not after.ended:  # else look: the bucket may have been emptied meanwhile
                with suppress(WrongSequence):
                    await self._put(after, revision, None)
                    return True
        for _ in range(WRITES_MAX):
            try:
                return await self._fold_over(await self._broker.get(subjects.STATUS_BUCKET, job_id), events)
            except WrongSequence:  # another instance has written: fold over its status
                continue
        raise Unavailable(f"{WRITES_MAX} writes of one status were overtaken")

    async def _fold_over(self, stored: Stored | None, events: Sequence[AnyEvent]) -> bool:
        """Fold events over what the bucket was read to hold, and write the result if it differs. Return as `fold_in`.

        A job that ended more than `retention_s` ago gets no new status, and an old one expires at once. Raises
        `WrongSequence` if another instance has written since the status was read, another `Refused`, or `Unavailable`.
        """
        job_id = events[0].job_id
        known = _readable(stored)
        ending = None
        if known is None or known.ended or any(isinstance(event, AnyEnding) for event in events):
            ending = await self._log.stored_ending(job_id)
        before = known or _rebuilt_from(ending)
        after = _folded(before, events)
        if after.deleted or is_deletion(ending):
            return False
        if stored is not None and after == before:
            return True
        ttl_s = None
        if ending is not None and after.ended:
            ttl_s = int(ending.at + self._retention_s - await self._broker.now())
        if ttl_s is not None and ttl_s < TTL_MIN_S:
            if stored is None:
                return True
            ttl_s = TTL_MIN_S  # the job ended long ago, which is seen only now: its status is to expire
        await self._put(after, 0 if stored is None else stored.sequence, ttl_s)
        return True

    async def _put(self, status: JobStatus, revision: int, ttl_s: int | None) -> None:
        """Write a status over this revision, and remember it unless the job has ended. Raises as `Bus.put` does."""
        job_id = status.job_id
        now_at = await self._broker.put(
            subjects.STATUS_BUCKET, job_id, wire.encode(status), revision=revision, ttl_s=ttl_s
        )
        if status.ended:
            log.get().info("status_ended", job_id=job_id, status=status.status, reason=status.reason)
            return
        self._written[job_id] = status, now_at


def _folded(before: JobStatus | None, events: Sequence[AnyEvent]) -> JobStatus:
    """Return the status after these events, one at least."""
    after = fold(before, events[0])
    for event in events[1:]:
        after = fold(after, event)
    return after


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
