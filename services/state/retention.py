"""Removes files of jobs that have ended: videos by their total size, leftovers by age. Statuses expire by themselves.

Nothing is deleted on a guess. A file goes by an ending that was decoded, or by its age and by queue and log asked right
before. Nothing of an unfinished job goes, and nothing young: a job that is being accepted at this moment has an input
already and is not in the queue yet.
"""

import math

from msgspec import Struct

from contracts.events import EndingUnknown, JobCancelled, JobFailed, JobSucceeded
from contracts.job import CHECKPOINTS, INPUTS, VIDEO_SUFFIX, is_job_id, job_id_in
from contracts.job_log import JobLog
from contracts.process import log
from contracts.record import video_record_name
from contracts.restore import record_files
from contracts.stores import File, Store


class Limits(Struct, frozen=True):
    """`young_s` is the age below which no video goes; `leftover_s` the one from which nobody comes back to a file."""

    videos_bytes_max: int
    young_s: float
    leftover_s: float


class Retention:
    """Applies the limits to one pair of stores."""

    def __init__(self, job_log: JobLog, videos: Store, scratch: Store, limits: Limits) -> None:
        self._log, self._videos, self._scratch, self._limits = job_log, videos, scratch, limits
        self._wanted: set[str] = set()
        """The videos whose jobs are known to have succeeded, so that each is asked about once."""
        self._now: dict[Store, float] = {}
        """What the stores' own clocks said when this clean-up began. That of this machine may be a day off."""

    async def apply(self, unfinished: set[str]) -> None:
        """Remove what is over the limits. `unfinished` are the jobs that nothing is taken from."""
        self._now = {store: await store.now() for store in (self._videos, self._scratch)}
        await self._drop_unwanted_videos()
        await self._make_room(unfinished)
        await self._drop_old_records()
        await self._drop_leftovers(unfinished)
        for store in (self._videos, self._scratch):
            if count := await store.delete_old_drafts(before=self._now[store] - self._limits.leftover_s):
                log.get().info("drafts_removed", count=count)

    async def _drop_leftovers(self, unfinished: set[str]) -> None:
        """Remove inputs and checkpoints that are old and that no job needs."""
        for folder in (INPUTS, CHECKPOINTS):
            for file in await self._scratch.files(folder):
                job_id = job_id_in(file.name)
                if job_id in unfinished or self._now[self._scratch] - file.modified_at < self._limits.leftover_s:
                    continue
                if await self._is_over(job_id):
                    await self._remove(self._scratch, file.name, self._limits.leftover_s, why="leftover")

    async def _is_over(self, job_id: str) -> bool:
        """Ask queue and log whether nobody comes back to a job's files: it has ended, or nothing knows it.

        A job of the log without an ending was lost by the queue and will be brought back; how a job with an unknown
        ending ended is not known here.
        """
        if not is_job_id(job_id):
            return True
        if await self._log.queue.find(job_id) is not None:
            return False
        ending = await self._log.ending(job_id)
        if ending is not None:
            return not isinstance(ending, EndingUnknown)
        return await self._log.stored_submission(job_id) is None

    async def _drop_unwanted_videos(self) -> None:
        """Those of cancelled and failed jobs: left by a cluster that died between file and ending."""
        names = {video.name for video in await self._all_videos()}
        self._wanted &= names
        for name in names - self._wanted:
            match await self._log.ending(job_id_in(name)):
                case JobSucceeded():
                    self._wanted.add(name)
                case JobFailed() | JobCancelled():
                    await self._remove(self._videos, video_record_name(job_id_in(name)), 0, why="no_success")
                    await self._remove(self._videos, name, 0, why="no_success")
                case _:  # not ended yet, longer ago than the log goes back, or in a way that is not known here
                    continue

    async def _drop_old_records(self) -> None:
        """Those that are older than the log would be, and have no video beside them."""
        log_s = (await self._log.info()).config.max_age or math.inf
        with_video = {job_id_in(video.name) for video in await self._all_videos()}
        for file in await record_files(self._videos):
            if job_id_in(file.name) not in with_video:
                await self._remove(self._videos, file.name, log_s, why="forgotten")

    async def _all_videos(self) -> list[File]:
        """Oldest first."""
        return [file for file in await self._videos.files() if file.name.endswith(VIDEO_SUFFIX)]

    async def _make_room(self, unfinished: set[str]) -> None:
        """Remove videos, the oldest first, until the rest is within its limit or may not be touched."""
        videos = await self._all_videos()
        excess_bytes = sum(video.size_bytes for video in videos) - self._limits.videos_bytes_max
        for video in videos:
            if excess_bytes <= 0:
                return
            if job_id_in(video.name) in unfinished:
                continue
            if await self._remove(self._videos, video.name, self._limits.young_s, why="no_room"):
                excess_bytes -= video.size_bytes

    async def _remove(self, store: Store, name: str, age_s: float, *, why: str) -> bool:
        removed = await store.delete_old(name, before=self._now[store] - age_s)
        if removed:
            log.get().info("file_removed", name=name, why=why)
        return removed
