"""Complete the deletions of jobs: purge what log, bucket and index hold of a deleted job, and repair what a crash left.

The edge decides a deletion, by the tombstone and the `JobDeleted` that it writes. `materialise` has each job purged
whose deletion it meets; `__main__` calls `repair` in every clean-up.
"""

from collections.abc import Iterable, Sequence

from contracts import subjects, wire
from contracts.broker import Bus
from contracts.events import JobDeleted
from contracts.job import is_job_id
from contracts.job_deletion import bury, is_deletion
from contracts.job_log import JobLog
from contracts.process import log

LOOKED_AT_ONCE = 100
"""Of how many jobs one request asks for what is left: ten events of each are about what one answer may hold."""
COPIES_MAX = 5
"""How many messages of a subject are overwritten: there is one, and another if a copy came late."""
ALL_EVERY = 12
"""At every so manieth clean-up all deleted jobs are looked at, else those that were deleted since the last but one."""


class Deletions:
    """The deletions of jobs. One for the process. Every method raises `Unavailable` if the broker does not answer."""

    def __init__(self, broker: Bus, job_log: JobLog) -> None:
        self._broker, self._log = broker, job_log
        self._repairs = 0
        self._settled: set[str] = set()
        self._seen: set[str] = set()
        """The deleted jobs of the last clean-up but one, and of the last one."""

    async def purge(self, job_id: str) -> None:
        """Purge a deleted job's status, its entry in the index, and every event of it but its `JobDeleted`.

        That includes events that came after the deletion. The log is the last, so that a purge that was cut off is
        done again by whoever finds an event there. Events of a job that is not deleted stay. What holds a client's own
        words is overwritten on the broker's disk first, which a purge does not do.
        """
        if not is_job_id(job_id):  # a token of a subject may be a wildcard
            return
        for bucket in (subjects.STATUS_BUCKET, subjects.INDEX_BUCKET):
            await self._overwrite(subjects.bucket_stream(bucket), subjects.bucket_key(bucket, job_id))
            await self._broker.purge(subjects.bucket_stream(bucket), subjects.bucket_key(bucket, job_id))
        last = await self._log.stored_ending(job_id)
        if last is not None and is_deletion(last):
            for subject in (subjects.submission_of(job_id), *subjects.endings_with_words_of(job_id)):
                await self._overwrite(subjects.EVENTS_STREAM, subject)
            await self._broker.purge(subjects.EVENTS_STREAM, subjects.endings_of(job_id), before=last.sequence)
            await self._broker.purge(subjects.EVENTS_STREAM, subjects.all_but_endings_of(job_id))

    async def _overwrite(self, stream: str, subject: str) -> None:
        """Delete the messages on a subject, up to `COPIES_MAX`, each overwritten on the broker's disk."""
        for _ in range(COPIES_MAX):
            if (stored := await self._broker.last(stream, subject)) is None:
                return
            await self._broker.delete(stream, stored.sequence)

    async def repair(self) -> set[str]:
        """Complete every deletion that a crash has cut off, and return the ids of all deleted jobs.

        Afterwards each has a tombstone, and log, bucket and index have nothing else of it. Idempotent, and safe beside
        another instance.
        """
        if self._repairs % ALL_EVERY == 0:
            await self._write_lost_tombstones()
            self._settled = self._seen = set()
        deleted = await self._log.tombstones.ids()
        for job_ids in _chunks(filter(is_job_id, deleted - self._settled)):
            for job_id in await self._having_more_than_a_deletion(job_ids):
                tombstone = await self._log.tombstones.find(job_id)
                if tombstone is not None:
                    await bury(self._log, wire.tombstone_in(tombstone))
                    await self.purge(job_id)
                    log.get().warning("deletion_completed", job_id=job_id)
        self._settled, self._seen, self._repairs = self._seen, deleted, self._repairs + 1
        return deleted

    async def _write_lost_tombstones(self) -> None:
        """Write the tombstones of jobs that are deleted by the log and have none, as the bucket was lost."""
        logged = await self._broker.subjects(subjects.EVENTS_STREAM, subjects.ALL_DELETIONS)
        buried = await self._log.tombstones.ids()
        for job_id in {subjects.job_id_of(subject) for subject in logged} - buried:
            ending = await self._log.ending(job_id) if is_job_id(job_id) else None
            if isinstance(ending, JobDeleted):
                await self._log.tombstones.put(ending)

    async def _having_more_than_a_deletion(self, job_ids: Sequence[str]) -> set[str]:
        """Return which of these jobs have an event other than `JobDeleted`, a message in the queue, status or entry."""
        last_of = self._broker.last_of_each
        found = await last_of(subjects.EVENTS_STREAM, [subjects.events_of(job_id) for job_id in job_ids])
        more = {subjects.job_id_of(event.subject) for event in found if not is_deletion(event)}
        queued = await last_of(subjects.JOBS_STREAM, [subjects.job_in_any_lane(job_id) for job_id in job_ids])
        more |= {subjects.job_id_of(job.subject) for job in queued}
        for bucket in (subjects.STATUS_BUCKET, subjects.INDEX_BUCKET):
            keys = [subjects.bucket_key(bucket, job_id) for job_id in job_ids]
            kept = await last_of(subjects.bucket_stream(bucket), keys)
            more |= {value.subject.rpartition(".")[2] for value in kept}
        return more


def _chunks(job_ids: Iterable[str]) -> Iterable[list[str]]:
    """Yield the ids in lists of `LOOKED_AT_ONCE`."""
    ids = list(job_ids)
    return (ids[start : start + LOOKED_AT_ONCE] for start in range(0, len(ids), LOOKED_AT_ONCE))
