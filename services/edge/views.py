"""Look up a whole job: how it stands, what was asked for, what its making took, and until when the log knows it.

The routes of `/v1/videos` show it. Unlike `/video/status`, they show a job for as long as the log has it.
"""

import asyncio
from collections.abc import Collection

from msgspec import Struct

from contracts import wire
from contracts.cluster import ClusterStatus
from contracts.events import JobSubmitted, JobSucceeded, Timings
from contracts.process import log
from contracts.recent import Recent
from contracts.shared_answers import SharedAnswers
from contracts.status import JobStatus, State
from services.edge.errors import NotFound
from services.edge.job_index import Order
from services.edge.jobs import Jobs

SUBMISSIONS_MAX = 1024
"""Of how many jobs the submission is remembered, which never changes."""
CLUSTERS_KEPT_S = 2.0
LIMITS_KEPT_S = 60.0


class View(Struct, frozen=True):
    """A job as the log knows it. `submitted` is None if this version cannot read the submission.

    `timings` are those of the attempt that made the video. `forgotten_at` is when the log drops the submission, in Unix
    seconds.
    """

    status: JobStatus
    submitted: JobSubmitted | None
    timings: Timings | None
    forgotten_at: float | None


class Views:
    """Looks up jobs. One for the process. Every method raises `Unavailable` if the broker does not answer in time."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs, self._log = jobs, jobs.log
        self._submissions = Recent[str, JobSubmitted](SUBMISSIONS_MAX)
        self._clusters = SharedAnswers[None, list[ClusterStatus]](
            lambda _: jobs.clusters(), kept_s=CLUSTERS_KEPT_S, kept_max=1
        )
        self._log_s = SharedAnswers[None, float | None](lambda _: self._ask_log_s(), kept_s=LIMITS_KEPT_S, kept_max=1)

    async def clusters(self) -> list[ClusterStatus]:
        """Return the live clusters, as they were up to `CLUSTERS_KEPT_S` ago."""
        return await self._clusters.get(None)

    async def view(self, job_id: str) -> View:
        """Return a job that the log still knows. Raises `NotFound`."""
        status = await self._status(job_id)
        submitted, timings, log_s = await asyncio.gather(
            self._submission(job_id), self._timings(status), self._log_s.get(None)
        )
        return View(status, submitted, timings, _forgotten_at(status, log_s))

    def forget(self, job_id: str) -> None:
        """Forget a job that is deleted, here and in `jobs`."""
        self._submissions.pop(job_id, None)
        self._jobs.forget(job_id)

    async def page(
        self, *, tenant: str | None, limit: int, after: str | None, order: Order, states: Collection[State]
    ) -> tuple[list[View], bool]:
        """Return a page of the list of a tenant's jobs, or of all jobs, without timings, and whether more follow.

        Raises as `JobList.page`.
        """
        found = await self._jobs.page(tenant=tenant, limit=limit, after=after, order=order, status=states)
        log_s = await self._log_s.get(None)
        views = [View(job.status, job.submitted, None, _forgotten_at(job.status, log_s)) for job in found.jobs]
        return views, found.has_more

    async def _status(self, job_id: str) -> JobStatus:
        """Return how a job stands, however long ago it ended. Raises `NotFound`."""
        try:
            return await self._jobs.status(job_id)
        except NotFound:
            return (await self._jobs.find(job_id)).status

    async def _submission(self, job_id: str) -> JobSubmitted | None:
        """Return the job's submission; None if this version cannot read it."""
        if (known := self._submissions.get(job_id)) is not None:
            return known
        submitted = None
        try:
            submitted = await self._log.submission(job_id)
        except wire.Undecodable as error:
            log.get().warning("submission_unreadable", job_id=job_id, error=str(error))
        if submitted is not None:
            self._submissions[job_id] = submitted
        return submitted

    async def _timings(self, status: JobStatus) -> Timings | None:
        """Return what the making of a job's video took; None if it has none, or if that is not known."""
        if status.status != "Succeed":
            return None
        ending = await self._log.ending(status.job_id)
        return ending.timings if isinstance(ending, JobSucceeded) else None

    async def _ask_log_s(self) -> float | None:
        """Return how long the log keeps an event, in seconds; None for ever."""
        return (await self._log.info()).config.max_age or None


def _forgotten_at(status: JobStatus, log_s: float | None) -> float | None:
    """Return when a log that keeps events for `log_s` seconds drops the job's submission; None for never or unknown."""
    return None if log_s is None or status.created_at is None else status.created_at + log_s
