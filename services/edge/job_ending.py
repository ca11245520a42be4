"""End jobs for clients: cancel a job, or delete it for good with all that there is of it. `jobs` calls `JobEnder`.

Of a deletion the tombstone comes first, and from then on the job will be deleted: the state service completes what an
edge that dies has begun, and alone purges the job's events, its status and its entry in the index.
"""

import asyncio
import time
from contextlib import suppress

from contracts import subjects, wire
from contracts.broker import Bus, Unavailable
from contracts.events import JobDeleted
from contracts.fold import fold
from contracts.job import CHECKPOINTS, input_name, job_id_in, video_name
from contracts.job_deletion import bury
from contracts.job_log import JobLog
from contracts.process import log
from contracts.status import JobStatus
from contracts.stores import Store
from contracts.video_files import files_of, names_with_video
from contracts.wire import SubmissionHead
from services.edge.ended_by_client import log_deleted, publish_cancellation, submission_for_log
from services.edge.errors import AlreadyFinished, NotFound
from services.edge.job_status import StatusReader

PUBLISH_WITHIN_S = 12.0  # longer than an election of three brokers
PURGED_WITHIN_S = 1.0
"""How long an answer waits for the state service to purge the job's events; all interfaces say 404 before that."""
PURGED_POLL_S = 0.02


class JobEnder:
    """Ends jobs. One for the process. Every method raises `Unavailable`, or `OSError` if a store cannot be asked."""

    def __init__(self, broker: Bus, job_log: JobLog, statuses: StatusReader, videos: Store, scratch: Store) -> None:
        self._broker, self._log, self._statuses = broker, job_log, statuses
        self._videos, self._scratch = videos, scratch

    async def cancel(self, job_id: str) -> None:
        """End the job as cancelled, for good, and delete its files. Raises `NotFound` or `AlreadyFinished`."""
        status = await self._statuses.current(job_id)
        if not status.ended:
            winner = await publish_cancellation(self._broker, self._log, status, within_s=PUBLISH_WITHIN_S)
            status = fold(status, winner)
        if status.deleted:
            raise NotFound("no such job")
        if status.status != "Cancelled":
            raise AlreadyFinished(status.status)
        await self._remove_what_is_left(job_id)

    async def _remove_what_is_left(self, job_id: str) -> None:
        """Remove a cancelled job from the queue, free its slot, and delete its input, its video and what is beside it.

        A cluster that stored the video before it learnt of the cancellation deletes the video too, unless it has died.
        """
        head = await self._head(job_id)
        await self._leave_queue(job_id)
        await self._log.slots.free(head)
        await self._scratch.delete(_input_name(job_id, head))
        for name in names_with_video(job_id):
            await self._videos.delete(name)

    async def _leave_queue(self, job_id: str) -> None:
        """Remove the job's message from the queue, if it is there."""
        if (queued := await self._log.queue.find(job_id)) is not None:
            await self._log.queue.remove(queued)

    async def delete(self, job_id: str) -> None:
        """Delete the job and all that there is of it, for good. Raises `NotFound`, also if it is deleted already.

        From the return on this edge shows nothing of the job; another edge may show how it ended, or its video, for
        `job_status.ENDED_KEPT_S` more, unless it hears of the deletion, as it usually does.
        """
        status = await self._known(job_id)
        head = await self._head(job_id)
        submitted = await submission_for_log(self._log, job_id)
        deleted = JobDeleted(job_id=job_id, at=time.time())
        await bury(self._log, deleted)
        if status is not None and not status.ended:
            log_deleted(deleted, status, submitted)
        log.get().info("job_deleted", job_id=job_id)
        await self._leave_queue(job_id)
        await self._log.slots.free(head)
        await self._remove_files(job_id, head)
        await self._wait_until_purged(job_id)
        self._statuses.note_deleted(job_id)

    async def _known(self, job_id: str) -> JobStatus | None:
        """Return the status of a job; None if the log has forgotten it and its video is there. Raises `NotFound`."""
        try:
            return await self._statuses.ever(job_id)
        except NotFound:
            if await self._log.tombstones.find(job_id) is not None or not await self._videos.exists(video_name(job_id)):
                raise
            return None

    async def _head(self, job_id: str) -> SubmissionHead | None:
        """Return the head of the job's submission; None if it is unknown, or if only a newer version can read it."""
        with suppress(wire.Undecodable):  # then the state service deletes the input and frees the slot
            return await self._log.submission_head(job_id)
        return None

    async def _remove_files(self, job_id: str, head: SubmissionHead | None) -> None:
        """Delete the job's files: input, checkpoints, record, and the video last, by which the job is known still."""
        await self._scratch.delete(_input_name(job_id, head))
        for file in await self._scratch.files(CHECKPOINTS):
            if job_id_in(file.name) == job_id:
                await self._scratch.delete(file.name)
        for name in files_of(job_id):
            await self._videos.delete(name)

    async def _wait_until_purged(self, job_id: str) -> None:
        """Wait until the log holds no event of the job but its deletion, or for `PURGED_WITHIN_S`."""
        pattern = subjects.all_but_endings_of(job_id)
        try:
            async with asyncio.timeout(PURGED_WITHIN_S):
                while await self._broker.last(subjects.EVENTS_STREAM, pattern) is not None:  # noqa: ASYNC110
                    await asyncio.sleep(PURGED_POLL_S)
        except (TimeoutError, Unavailable):
            log.get().warning("purge_left_to_state", job_id=job_id)


def _input_name(job_id: str, head: SubmissionHead | None) -> str:
    """Return the name of the job's input file; a guess if the head of its submission is unknown."""
    return input_name(job_id, None if head is None else head.input_tag)
