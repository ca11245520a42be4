"""Say how a job stands: its status of now, with its place in the queue and its estimate. `jobs` asks.

`job_lookup` finds statuses; here answers are shared among those who ask at once, ended jobs are remembered, and deleted
ones are no more. Nothing is written.
"""

import time

from msgspec.structs import replace

from contracts.at_once import at_once
from contracts.broker import Bus
from contracts.job_log import JobLog
from contracts.next_answer import NextAnswers
from contracts.recent import Recent
from contracts.shared_answers import SharedAnswers
from contracts.status import JobStatus, State
from services.edge.errors import NotFound
from services.edge.forecast import Forecasts
from services.edge.job_lookup import UNKNOWN, JobLookup

ENDED_KEPT_S = 3.0
"""How long the status of an ended job is shown without another look."""
ENDED_MAX = 1024
"""Of how many ended jobs the status is remembered."""
ETA_DIGITS = 1
DELETED_MAX = 4096
"""Of how many deleted jobs it is remembered that they are."""
SEEN_MAX = 4096
"""Of how many unfinished jobs it is remembered how they stood."""


class StatusReader:
    """Reads statuses. One for the process. Every method raises `Unavailable` if the broker does not answer in time.

    `retention_s` is how long after its ending a job is shown that the bucket lacks.
    """

    def __init__(self, broker: Bus, job_log: JobLog, forecasts: Forecasts, *, retention_s: float) -> None:
        self._log, self._forecasts, self._retention_s = job_log, forecasts, retention_s
        self._lookup = JobLookup(broker, job_log)
        self._seen = Recent[str, State](SEEN_MAX)
        """How each unfinished job stood that was asked for last. Decides only which questions are asked at once."""
        self._ended = Recent[str, tuple[float, JobStatus]](ENDED_MAX)
        """The statuses of ended jobs that were shown last, each with the monotonic time until which it is kept."""
        self._deleted = Recent[str, None](DELETED_MAX)
        """The jobs that this edge has deleted last. They stay deleted."""
        self._looks = NextAnswers(self._placed)
        self._known = SharedAnswers(self._known_now, kept_s=_kept_s, kept_max=ENDED_MAX)

    async def status_to_show(self, job_id: str) -> JobStatus:
        """Return what `current` returns, with `eta_seconds`, and with `queue_position` if the job waits.

        The status of an ended job has `expires_at` instead.

        Raises `NotFound`. The status of an ended job, which changes no more, may be `ENDED_KEPT_S` old. Any other one
        is found by a look that begins after this call, and that all share who ask during the look before.
        """
        self._check_not_deleted(job_id)
        kept_until, ended = self._ended.get(job_id, (0.0, None))
        if ended is not None and time.monotonic() < kept_until:
            return ended
        status = await self._looks.get(job_id)
        self._ended.pop(job_id, None)
        if status.ended:
            status = self.expiring(status)
            self._ended[job_id] = time.monotonic() + ENDED_KEPT_S, status
        return status

    def expiring(self, status: JobStatus) -> JobStatus:
        """Return the status with `expires_at` if the job has ended."""
        return replace(status, expires_at=status.updated_at + self._retention_s) if status.ended else status

    async def _placed(self, job_id: str) -> JobStatus:
        """Return what `current` returns, with `eta_seconds`, and `queue_position` if it waits. Raises `NotFound`."""
        if self._seen.get(job_id) != "InQueue":
            status = await self.current(job_id)
            place = await self._log.queue.position(job_id) if status.status == "InQueue" else None
        else:
            async with at_once() as tasks:
                position = tasks.create_task(self._log.queue.position(job_id))
                status = await self.current(job_id)
            place = position.result()
        if status.status != "InQueue":
            return _with_time_passed(status)
        eta_s = None if place is None else await self._forecasts.eta_s(job_id, place)
        return replace(status, queue_position=place, eta_seconds=None if eta_s is None else round(eta_s, ETA_DIGITS))

    async def current(self, job_id: str) -> JobStatus:
        """Return the status of a job; of a job whose status is still in the bucket, however long ago it ended.

        Raises `NotFound` for a job that is unknown, or that the bucket lacks and that ended over `retention_s` ago.
        """
        in_bucket, status = await self._found(job_id)
        if status is None or (status.ended and in_bucket is None and await self._ended_too_long_ago(job_id)):
            raise NotFound(UNKNOWN)
        return status

    async def _ended_too_long_ago(self, job_id: str) -> bool:
        """Return whether the broker stored the job's ending over `retention_s` ago, by the broker's own clock.

        False for a job whose ending is not in the log.
        """
        stored = await self._log.stored_ending(job_id, leader=False)
        return stored is not None and stored.at + self._retention_s < await self._log.now()

    async def status_or_none(self, job_id: str) -> JobStatus | None:
        """Return the status of a job however long ago it ended, or None if neither bucket, log nor queue has it.

        None, and the status of an ended job, may be `ENDED_KEPT_S` old. Raises `NotFound` if the job is deleted.
        """
        self._check_not_deleted(job_id)
        return await self._known.get(job_id)

    async def ever(self, job_id: str) -> JobStatus:
        """Return the status of a job however long ago it ended, with `queue_position`. Raises `NotFound`."""
        status = await self._known_now(job_id)
        if status is None:
            raise NotFound(UNKNOWN)
        place = await self._log.queue.position(job_id) if status.status == "InQueue" else None
        return replace(status, queue_position=place)

    def note_deleted(self, job_id: str) -> None:
        """Note that a job is deleted, also for those who are looking it up now."""
        self._deleted[job_id] = None
        self.forget(job_id)

    def _check_not_deleted(self, job_id: str) -> None:
        """Raise `NotFound` for a job that this edge has deleted."""
        if job_id in self._deleted:
            raise NotFound(UNKNOWN)

    def forget(self, job_id: str) -> None:
        """Forget how an ended job stands: the next who asks gets a new answer."""
        self._ended.pop(job_id, None)
        self._known.forget(job_id)

    async def _known_now(self, job_id: str) -> JobStatus | None:
        """Return what `status_or_none` returns, by the broker's word of now. Raises `NotFound` if it is deleted."""
        return (await self._found(job_id))[1]

    async def _found(self, job_id: str) -> tuple[JobStatus | None, JobStatus | None]:
        """Return what the `JobLookup` has found, and remember how an unfinished job stands. Raises `NotFound`."""
        self._seen.pop(job_id, None)  # noted anew below, unless a question fails
        in_bucket, status = await self._lookup.found(job_id)
        if status is not None and not status.ended:
            self._seen[job_id] = status.status
        return in_bucket, status


def _with_time_passed(status: JobStatus) -> JobStatus:
    """Return a status whose `eta_seconds` counts from now on, and no longer from its last event.

    That event has the time of a cluster's clock: if it is ahead of this machine's, no time has passed.
    """
    if status.eta_seconds is None:
        return status
    passed_s = max(0.0, time.time() - status.updated_at)
    return replace(status, eta_seconds=round(max(0.0, status.eta_seconds - passed_s), ETA_DIGITS))


def _kept_s(status: JobStatus | None) -> float:
    """Return how long a status is good for requests of videos: those of a player come in quick succession."""
    return ENDED_KEPT_S if status is None or status.ended else 0.0
