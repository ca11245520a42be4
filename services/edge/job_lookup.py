"""Look up how a job stands, in bucket, log and queue. `job_status` asks; nothing is written here.

The status bucket is the projection that the state service keeps, and may lag or have forgotten. So what is missing
there is folded from the log and the queue: a job is known from the moment of its 202 on, even while the state service
is away.
"""

from contextlib import suppress

from contracts import subjects, wire
from contracts.at_once import at_once
from contracts.broker import Bus
from contracts.fold import fold, fold_all
from contracts.job_log import JobLog
from contracts.process import log
from contracts.status import JobStatus
from services.edge.errors import NotFound

UNKNOWN = "no such job, or it ended too long ago"


class JobLookup:
    """Finds statuses. One for the process. Every method raises `Unavailable` if the broker does not answer in time."""

    def __init__(self, broker: Bus, job_log: JobLog) -> None:
        self._broker, self._log = broker, job_log

    async def found(self, job_id: str) -> tuple[JobStatus | None, JobStatus | None]:
        """Return the status in the bucket, and the same with what it lacks; None for a status that is not there.

        A missing status comes from the log's events, then a missing ending from the log, then a missing submission from
        the queue. The order matters: a job is in the queue before it is in the log, and in the log before the bucket.
        A job in none of them is looked for once more among the endings: it may have left the queue meanwhile.
        The ending is asked for at once with the bucket, since it may be a deletion whatever the bucket says: then this
        raises `NotFound`.
        """
        async with at_once() as tasks:
            asked = tasks.create_task(self._log.ending(job_id))
            in_bucket = await self._status_in_bucket(job_id)
        status, ending = in_bucket, asked.result()
        if status is None:
            status = fold_all(logged.event for logged in await self._log.events(job_id))
        if ending is not None:
            status = fold(status, ending)
        if status is None or status.created_at is None:
            queued = await self._log.queue.find(job_id)
            with suppress(wire.Undecodable):  # rank 0 ends a job that cannot be read
                status = status if queued is None else fold(status, wire.submission_in(queued))
        if status is None:
            status = await self._ended_meanwhile(job_id)
        if status is not None and status.deleted:
            raise NotFound(UNKNOWN)
        return in_bucket, status

    async def _ended_meanwhile(self, job_id: str) -> JobStatus | None:
        """Return the status of a job whose ending is in the log by now; None without one.

        A job leaves the queue after its ending is in the log: so the one that was looked for there in vain has ended.
        """
        if (ending := await self._log.ending(job_id)) is None:
            return None
        return fold(fold_all(logged.event for logged in await self._log.events(job_id)), ending)

    async def _status_in_bucket(self, job_id: str) -> JobStatus | None:
        """Return the status in the bucket; None if there is none, or (logged) if this version cannot read it."""
        stored = await self._broker.get(subjects.STATUS_BUCKET, job_id)
        try:
            return None if stored is None else wire.status_in(stored)
        except wire.Undecodable as error:  # the log has the job too
            log.get().error("status_unreadable", job_id=job_id, error=str(error))
            return None
