"""The tombstones of deleted jobs: what keeps records and repeated submissions from bringing a deleted job back.

`JobLog.tombstones` are the tombstones beside a log. The bucket keeps them for longer than the log keeps its events; a
tombstone is the job's `JobDeleted`, its id and the time alone.
"""

from contextlib import suppress

from contracts import subjects, wire
from contracts.broker import Bus, Stored, WrongSequence
from contracts.events import JobDeleted


class Tombstones:
    """The bucket of tombstones. Every method raises `Unavailable` if the broker does not answer in time."""

    def __init__(self, broker: Bus) -> None:
        self._broker = broker

    async def put(self, deleted: JobDeleted) -> None:
        """Write the job's tombstone, unless it has one."""
        with suppress(WrongSequence):
            await self._broker.put(subjects.TOMBSTONES_BUCKET, deleted.job_id, wire.encode(deleted), revision=0)

    async def find(self, job_id: str) -> Stored | None:
        """Return the job's tombstone, asked of the leader; None without one."""
        key = subjects.bucket_key(subjects.TOMBSTONES_BUCKET, job_id)
        return await self._broker.last(subjects.bucket_stream(subjects.TOMBSTONES_BUCKET), key)

    async def ids(self) -> set[str]:
        """Return the ids of all jobs that have a tombstone."""
        pattern = subjects.bucket_key(subjects.TOMBSTONES_BUCKET, ">")
        found = await self._broker.subjects(subjects.bucket_stream(subjects.TOMBSTONES_BUCKET), pattern)
        return {subject.rpartition(".")[2] for subject in found}
