"""Look up how a job stands, in bucket, log and queue. `jobs` asks; nothing is written here.

The status bucket is the projection that the state service keeps, and may lag or have forgotten. So what is missing
there is folded from the log and the queue: a job is known from the moment of its 202 on, even while the state service
is away.
"""

from contextlib import suppress

from contracts import subjects, wire
from contracts.broker import Bus
from contracts.fold import fold, fold_all
from contracts.job_log import JobLog
from contracts.process import log
from contracts.status import JobStatus
from services.edge.errors import NotFound


class JobStatuses:
    """Reads statuses. One for the process. Every method raises `Unavailable` if the broker does not answer in time.

    `retention_s` is how long after its ending a job is shown that the bucket lacks.
    """

    def __init__(self, broker: Bus, job_log: JobLog, *, retention_s: float) -> None:
        self._broker, self._log, self._retention_s = broker, job_log, retention_s

    async def current(self, job_id: str) -> JobStatus:
        """Return the status of a job; of a job whose status is still in the bucket, however long ago it ended.

        Raises `NotFound` for a job that is unknown, or that the bucket lacks and that ended over `retention_s` ago.
        """
        in_bucket = await self._in_bucket(job_id)
        status = await self._completed_from_log_and_queue(in_bucket, job_id)
        if status is None or (status.ended and in_bucket is None and await self._ended_too_long_ago(job_id)):
            raise NotFound("no such job, or it ended too long ago")
        return status

    async def _ended_too_long_ago(self, job_id: str) -> bool:
        """Return whether the broker stored the job's ending over `retention_s` ago, by the broker's own clock.

        False for a job whose ending is not in the log.
        """
        stored = await self._log.stored_ending(job_id, leader=False)
        return stored is not None and stored.at + self._retention_s < await self._log.now()

    async def known(self, job_id: str) -> JobStatus | None:
        """Return the status of a job however long ago it ended, or None if neither bucket, log nor queue has it."""
        return await self._completed_from_log_and_queue(await self._in_bucket(job_id), job_id)

    async def _completed_from_log_and_queue(self, status: JobStatus | None, job_id: str) -> JobStatus | None:
        """Return the bucket's `status`, which may be None, with what it lacks; None if the job is unknown everywhere.

        A missing status comes from the log's events, then a missing ending from the log, then a missing submission from
        the queue. The order matters: a job is in the queue before it is in the log, and in the log before the bucket.
        """
        if status is None:
            status = fold_all(logged.event for logged in await self._log.events(job_id))
        if status is not None and not status.ended and (ending := await self._log.ending(job_id)) is not None:
            status = fold(status, ending)
        if status is None or status.created_at is None:
            queued = await self._log.queue.find(job_id)
            with suppress(wire.Undecodable):  # rank 0 ends a job that cannot be read
                status = status if queued is None else fold(status, wire.submission_in(queued))
        return status

    async def _in_bucket(self, job_id: str) -> JobStatus | None:
        """Return the status in the bucket; None if there is none, or (logged) if this version cannot read it."""
        stored = await self._broker.get(subjects.STATUS_BUCKET, job_id)
        try:
            return None if stored is None else wire.status_in(stored)
        except wire.Undecodable as error:  # the log has the job too
            log.get().error("status_unreadable", job_id=job_id, error=str(error))
            return None
