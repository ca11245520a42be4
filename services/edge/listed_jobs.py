"""Make jobs of entries of the index: how each stands, and its submission, for as long as the log knows it.

`job_list` asks for a page's entries at once, which takes two requests to the broker; `jobs` asks for a single job.
"""

from msgspec import Struct

from contracts import subjects, wire
from contracts.at_once import at_once
from contracts.broker import Bus, Stored
from contracts.events import AnyEnding, JobSubmitted
from contracts.fold import fold, fold_all
from contracts.job_log import JobLog
from contracts.status import JobStatus
from services.edge.errors import NotFound
from services.edge.job_status import StatusReader


class ListedJob(Struct, frozen=True, kw_only=True):
    """A job as a list shows it. `submitted` is None if only a newer version can read the submission."""

    status: JobStatus
    submitted: JobSubmitted | None


class ListedJobs:
    """Jobs with their submissions, as one edge sees them. Every method raises `Unavailable` as `StatusReader` does."""

    def __init__(self, broker: Bus, job_log: JobLog, statuses: StatusReader) -> None:
        self._broker, self._log, self._statuses = broker, job_log, statuses

    async def find(self, job_id: str) -> ListedJob:
        """Return a job however long ago it ended, with `queue_position` if it waits. Raises `NotFound`."""
        status = await self._statuses.ever(job_id)
        try:
            submitted = await self._log.submission(job_id)
        except wire.Undecodable:
            submitted = None
        return ListedJob(status=self._statuses.expiring(status), submitted=submitted)

    async def of_entries(self, entries: list[Stored]) -> list[ListedJob]:
        """Return the jobs of entries of the index, without those that are deleted or that the log has forgotten."""
        if not entries:
            return []
        ids = [subjects.job_id_of(entry.subject) for entry in entries]
        bucket = subjects.bucket_stream(subjects.STATUS_BUCKET)
        async with at_once() as tasks:
            last_of = self._broker.last_of_each
            asked = tasks.create_task(last_of(subjects.EVENTS_STREAM, [subjects.endings_of(each) for each in ids]))
            keys = [subjects.bucket_key(subjects.STATUS_BUCKET, each) for each in ids]
            statuses = tasks.create_task(last_of(bucket, keys))
        endings: dict[str, list[AnyEnding]] = {}
        for stored in asked.result():
            endings.setdefault(subjects.job_id_of(stored.subject), []).append(wire.ending_in(stored))
        in_bucket = {stored.subject.rpartition(".")[2]: stored for stored in statuses.result()}
        async with at_once() as tasks:
            standing = [
                tasks.create_task(self._standing(entry, job_id, in_bucket.get(job_id), endings.get(job_id, [])))
                for entry, job_id in zip(entries, ids, strict=True)
            ]
        return [job for task in standing if (job := task.result()) is not None]

    async def _standing(
        self, entry: Stored, job_id: str, in_bucket: Stored | None, endings: list[AnyEnding]
    ) -> ListedJob | None:
        """Return the job of an entry as bucket and endings say; None if it is deleted, forgotten, or no job."""
        try:
            submission = wire.submission_in(entry)
        except wire.Undecodable:
            return None
        status = None if in_bucket is None else _readable(in_bucket)
        if status is None:
            status = fold_all([submission, *endings]) if endings else await self._looked_up(job_id)
        for ending in endings:
            status = None if status is None else fold(status, ending)
        if status is None or status.deleted:
            return None
        submitted = submission if isinstance(submission, JobSubmitted) else None
        return ListedJob(status=self._statuses.expiring(status), submitted=submitted)

    async def _looked_up(self, job_id: str) -> JobStatus | None:
        """Return the status of a job that has none in the bucket, and no ending; None if the log has forgotten it."""
        try:
            return await self._statuses.ever(job_id)
        except NotFound:
            return None


def _readable(stored: Stored) -> JobStatus | None:
    """Return a stored status; None if this version cannot read it."""
    try:
        return wire.status_in(stored)
    except wire.Undecodable:
        return None
