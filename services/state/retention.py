"""Delete the files of ended jobs: videos by their total size, leftovers by their age. Statuses expire by themselves.

The input of a job with a video stays as long as the video, for remixes: it counts as a part of the video, and goes with
it.

`__main__` calls `Retention.delete_outdated` in every clean-up. Nothing is deleted on a guess: a file needs an ending
that was decoded, or it must be old, with queue and log asked right before. Files of unfinished jobs stay, and so do
young files: a job that is being accepted has an input before it is in the queue.
"""

import math
from collections.abc import Set as AbstractSet

from msgspec import Struct

from contracts.events import EndingUnknown, JobCancelled, JobDeleted, JobFailed, JobSucceeded
from contracts.job import CHECKPOINTS, INPUTS, VIDEO_SUFFIX, is_job_id, job_id_in
from contracts.job_log import JobLog
from contracts.process import log
from contracts.record import WITHOUT_VIDEO
from contracts.restore import record_files
from contracts.stores import File, Store
from contracts.video_files import is_picture, names_with_video
from services.state.own_numbers import StateNumbers


class Limits(Struct, frozen=True):
    """The limits that an operator sets.

    `videos_bytes_max` is the size of all videos together with their pictures and inputs. Videos younger than `young_s`
    stay. A file of inputs or checkpoints, or a picture without its video, is a leftover if it is older than
    `leftover_s`.
    """

    videos_bytes_max: int
    young_s: float
    leftover_s: float


class Retention:
    """Applies the limits to one pair of stores. One for the process.

    Every method that deletes or asks raises `OSError` if a store fails, and `Unavailable` if the broker does.
    """

    def __init__(
        self, job_log: JobLog, videos: Store, scratch: Store, limits: Limits, numbers: StateNumbers | None = None
    ) -> None:
        self._log, self._videos, self._scratch, self.limits = job_log, videos, scratch, limits
        self._numbers = numbers or StateNumbers()
        self.videos_bytes: int | None = None
        """The size of all videos with their pictures and inputs at the last clean-up; None before the first."""
        self._wanted: set[str] = set()
        """The videos whose jobs are known to have succeeded, so that the log is asked once for each."""
        self._now: dict[Store, float] = {}
        """The time by each store's own clock when this clean-up began. This machine's clock may be a day off."""

    async def delete_outdated(self, unfinished: set[str], deleted: AbstractSet[str] = frozenset()) -> None:
        """Delete files for good: of jobs without success, over the limits, and left over; none of jobs in `unfinished`.

        All files of jobs in `deleted` go, however young.

        Those are videos, pictures, records, inputs, checkpoints and drafts. What it deletes is logged.
        """
        self._now = {store: await store.now() for store in (self._videos, self._scratch)}
        await self._drop_files_of(deleted)
        await self._drop_unwanted_videos()
        await self._make_room(unfinished)
        await self._drop_lost_pictures(unfinished)
        await self._drop_old_records()
        await self._drop_leftovers(unfinished)
        for store in (self._videos, self._scratch):
            if count := await store.delete_old_drafts(before=self._now[store] - self.limits.leftover_s):
                log.get().info("drafts_removed", count=count)

    async def _drop_files_of(self, deleted: AbstractSet[str]) -> None:
        """Delete every file of deleted jobs: what an edge that died left, or a cluster wrote that heard of it late."""
        for store, folders in ((self._videos, ("", WITHOUT_VIDEO)), (self._scratch, (INPUTS, CHECKPOINTS))):
            for folder in folders:
                for file in await store.files(folder):
                    if job_id_in(file.name) in deleted:
                        await self._remove(store, file.name, 0, why="deleted")

    async def _drop_leftovers(self, unfinished: set[str]) -> None:
        """Delete inputs and checkpoints that are at least `leftover_s` old, and that no job and no remix needs."""
        with_video = {job_id_in(video.name) for video in await self._all_videos()}
        for folder, needed in ((INPUTS, unfinished | with_video), (CHECKPOINTS, unfinished)):
            for file in await self._scratch.files(folder):
                job_id = job_id_in(file.name)
                if job_id in needed or self._now[self._scratch] - file.modified_at < self.limits.leftover_s:
                    continue
                if await self._is_over(job_id):
                    await self._remove(self._scratch, file.name, self.limits.leftover_s, why="leftover")

    async def _is_over(self, job_id: str) -> bool:
        """Return whether no cluster needs a job's files again: the job has ended, or neither queue nor log has it.

        False for a job in the log without an ending, which `reconcile` will put back into the queue, and for a job with
        an ending that this version cannot read.
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
        """Delete the videos of cancelled and failed jobs, with what lies beside them, however young they are.

        A cluster leaves such a video if it dies before it publishes an ending.
        """
        names = {video.name for video in await self._all_videos()}
        self._wanted &= names
        for name in names - self._wanted:
            match await self._log.ending(job_id_in(name)):
                case JobSucceeded():
                    self._wanted.add(name)
                case JobFailed() | JobCancelled() | JobDeleted():
                    for each in names_with_video(job_id_in(name)):
                        await self._remove(self._videos, each, 0, why="no_success")
                case _:  # not ended yet, ended longer ago than the log goes back, or with an unreadable ending
                    continue

    async def _drop_old_records(self) -> None:
        """Delete records that are older than the log's `max_age` and have no video beside them."""
        log_s = (await self._log.info()).config.max_age or math.inf
        with_video = {job_id_in(video.name) for video in await self._all_videos()}
        for file in await record_files(self._videos):
            if job_id_in(file.name) not in with_video:
                await self._remove(self._videos, file.name, log_s, why="forgotten")

    async def _all_videos(self) -> list[File]:
        """Return all videos, the oldest first."""
        return _videos_among(await self._videos.files())

    async def _drop_lost_pictures(self, unfinished: set[str]) -> None:
        """Delete pictures that are at least `leftover_s` old and have no video beside them."""
        files = await self._videos.files()
        spared = unfinished | {job_id_in(video.name) for video in _videos_among(files)}
        for picture in files:
            if is_picture(picture.name) and job_id_in(picture.name) not in spared:
                await self._remove(self._videos, picture.name, self.limits.leftover_s, why="leftover")

    async def _make_room(self, unfinished: set[str]) -> None:
        """Delete videos with their pictures and inputs, the oldest first, until all others are within the limit.

        Skips those younger than `young_s` and those of unfinished jobs, so that the rest may stay over the limit.
        """
        files = await self._videos.files()
        videos = _videos_among(files)
        beside: dict[str, list[tuple[Store, File]]] = {job_id_in(video.name): [] for video in videos}
        pictures = [(self._videos, file) for file in files if is_picture(file.name)]
        for store, file in [*pictures, *((self._scratch, file) for file in await self._scratch.files(INPUTS))]:
            if job_id_in(file.name) in beside:
                beside[job_id_in(file.name)].append((store, file))
        kept = [*videos, *(file for some in beside.values() for _, file in some)]
        self.videos_bytes = sum(file.size_bytes for file in kept)
        for video in videos:
            job_id = job_id_in(video.name)
            if self.videos_bytes <= self.limits.videos_bytes_max:
                return
            if job_id in unfinished:
                continue
            if await self._remove(self._videos, video.name, self.limits.young_s, why="no_room"):
                self.videos_bytes -= video.size_bytes
                for store, file in beside[job_id]:
                    await self._remove(store, file.name, 0, why="no_room")
                    self.videos_bytes -= file.size_bytes

    async def _remove(self, store: Store, name: str, age_s: float, *, why: str) -> bool:
        """Delete a file if it is at least `age_s` old by the store's clock, and return whether it was deleted.

        A deletion is logged with its reason `why`. False also if the file is gone already.
        """
        removed = await store.delete_old(name, before=self._now[store] - age_s)
        if removed:
            self._numbers.files_removed.add(why)
            log.get().info("file_removed", name=name, why=why)
        return removed


def _videos_among(files: list[File]) -> list[File]:
    """Return the videos among these files, in their order."""
    return [file for file in files if file.name.endswith(VIDEO_SUFFIX)]
