"""Look up how a job stands, in bucket, log and queue. `jobs` asks; nothing is written here.

The status bucket is the projection that the state service keeps, and may lag or have forgotten. So what is missing
there is folded from the log and the queue: a job is known from the moment of its 202 on, even while the state service
is away.
"""

import time
from contextlib import suppress

from msgspec.structs import replace

from contracts import subjects, wire
from contracts.at_once import at_once
from contracts.broker import Bus
from contracts.fold import fold, fold_all
from contracts.job_log import JobLog
from contracts.process import log
from contracts.recent import Recent
from contracts.shared_answers import SharedAnswers
from contracts.status import JobStatus, State
from services.edge.errors import NotFound

ENDED_KEPT_S = 3.0
"""How long the status of an ended job is shown without another look."""
ENDED_MAX = 1024
"""Of how many ended jobs the status is remembered."""
SEEN_MAX = 4096
"""Of how many unfinished jobs it is remembered how they stood."""


class JobStatuses:
    """Reads statuses. One for the process. Every method raises `Unavailable` if the broker does not answer in time.

    `retention_s` is how long after its ending a job is shown that the bucket lacks.
    """

    def __init__(self, broker: Bus, job_log: JobLog, *, retention_s: float) -> None:
        self._broker, self._log, self._retention_s = broker, job_log, retention_s
        self._seen = Recent[str, State](SEEN_MAX)
        """How each unfinished job stood that was asked for last. Decides only which questions are asked at once."""
        self._ended = Recent[str, tuple[float, JobStatus]](ENDED_MAX)
        """The statuses of ended jobs that were shown last, each with the monotonic time until which it is kept."""
        self._known = SharedAnswers(self._known_now, kept_s=_kept_s, kept_max=ENDED_MAX)

    async def shown(self, job_id: str) -> JobStatus:
        """Return what `current` returns, with its `queue_position` if the job is in the queue. Raises `NotFound`.

        The status of an ended job, which changes no more, may be `ENDED_KEPT_S` old.
        """
        kept_until, ended = self._ended.get(job_id, (0.0, None))
        if ended is not None and time.monotonic() < kept_until:
            return ended
        status = await self._placed(job_id)
        self._ended.pop(job_id, None)
        if status.ended:
            self._ended[job_id] = time.monotonic() + ENDED_KEPT_S, status
        return status

    async def _placed(self, job_id: str) -> JobStatus:
        """Return what `current` returns, with its `queue_position` if the job is in the queue. Raises `NotFound`."""
        if self._seen.get(job_id) != "InQueue":
            status = await self.current(job_id)
            place = await self._log.queue.position(job_id) if status.status == "InQueue" else None
        else:
            async with at_once() as tasks:
                position = tasks.create_task(self._log.queue.position(job_id))
                status = await self.current(job_id)
            place = position.result()
        return status if status.status != "InQueue" else replace(status, queue_position=place)

    async def current(self, job_id: str) -> JobStatus:
        """Return the status of a job; of a job whose status is still in the bucket, however long ago it ended.

        Raises `NotFound` for a job that is unknown, or that the bucket lacks and that ended over `retention_s` ago.
        """
        in_bucket, status = await self._found(job_id)
        if status is None or (status.ended and in_bucket is None and await self._ended_too_long_ago(job_id)):
            raise NotFound("no such job, or it ended too long ago")
        return status

    async def _ended_too_long_ago(self, job_id: str) -> bool:
        """Return whether the broker stored the job's ending over `retention_s` ago, by the broker's own clock.

        False for a job whose ending is not in the log.
        """
        stored = await self._log.stored_ending(job_id, leader=False)
        return stored is not None and stored.at + self._retention_s < await self._log.now()

    async def status_or_none(self, job_id: str) -> JobStatus | None:
        """Return the status of a job however long ago it ended, or None if neither bucket, log nor queue has it.

        None, and the status of an ended job, may be `ENDED_KEPT_S` old.
        """
        return await self._known.get(job_id)

    async def _known_now(self, job_id: str) -> JobStatus | None:
        """Return what `known` returns, by the broker's word of now."""
        return (await self._found(job_id))[1]

    async def _found(self, job_id: str) -> tuple[JobStatus | None, JobStatus | None]:
        """Return the status in the bucket, and the same with what it lacks; None for a status that is not there.

        A missing status comes from the log's events, then a missing ending from the log, then a missing submission from
        the queue. The order matters: a job is in the queue before it is in the log, and in the log before the bucket.
        The ending is asked for at once if the job had none when it was asked for before.
        """
        async with at_once() as tasks:
            seen = self._seen.pop(job_id, None)  # noted anew below, unless a question fails
            asked = None if seen is None else tasks.create_task(self._log.ending(job_id))
            in_bucket = await self._status_in_bucket(job_id)
        status = in_bucket
        if status is None:
            status = fold_all(logged.event for logged in await self._log.events(job_id))
        if status is not None and not status.ended:
            ending = await self._log.ending(job_id) if asked is None else asked.result()
            status = status if ending is None else fold(status, ending)
        if status is None or status.created_at is None:
            queued = await self._log.queue.find(job_id)
            with suppress(wire.Undecodable):  # rank 0 ends a job that cannot be read
                status = status if queued is None else fold(status, wire.submission_in(queued))
        self._note(job_id, status)
        return in_bucket, status

    def _note(self, job_id: str, status: JobStatus | None) -> None:
        """Remember how an unfinished job stands, in place of the job that was asked for longest ago."""
        if status is not None and not status.ended:
            self._seen[job_id] = status.status

    async def _status_in_bucket(self, job_id: str) -> JobStatus | None:
        """Return the status in the bucket; None if there is none, or (logged) if this version cannot read it."""
        stored = await self._broker.get(subjects.STATUS_BUCKET, job_id)
        try:
            return None if stored is None else wire.status_in(stored)
        except wire.Undecodable as error:  # the log has the job too
            log.get().error("status_unreadable", job_id=job_id, error=str(error))
            return None


def _kept_s(status: JobStatus | None) -> float:
    """Return how long a status is good for requests of videos: those of a player come in quick succession."""
    return ENDED_KEPT_S if status is None or status.ended else 0.0
