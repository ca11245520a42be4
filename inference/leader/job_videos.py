"""The stored mp4 files of jobs and their pictures: whether a job's video exists, and how a new one takes its place.

The planner asks whether an earlier attempt has stored the video, `AttemptRunner` stores it. A file carries the
fingerprint of the job, the picture and the weights that it was made of. Pictures are stored after their video: an
attempt that finds the video adopts it, and makes those that are missing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from contracts.job import Job, video_name
from contracts.plan import Plan
from contracts.process import log
from contracts.stores import Store, no_room, overwrite
from contracts.video_files import Variant, names_with_video, picture_name, picture_names
from inference.leader.mp4 import read_video_facts
from inference.leader.pictures import pictures_of_mp4
from inference.ranks import out_of_memory

STORAGE_FULL = "storage_full"  # the first word of a reason, for programs


class JobVideos:
    """The videos of all jobs in the store. Every method but those of pictures raises `OSError` if the store fails."""

    def __init__(self, videos: Store) -> None:
        self._videos = videos

    async def exists(self, job_id: str, job_fingerprint: str) -> bool:
        """Return whether the job's video is stored and carries this fingerprint.

        A video with another fingerprint may be stored: an attempt under other weights died before its ending, or an
        earlier job had the same id, because its idempotency key was used again after the log forgot the job. That video
        stays until the new one is ready: the attempt that made it may only be slow, and about to end the job.
        """
        try:
            async with self._videos.local(video_name(job_id)) as path:
                return (await asyncio.to_thread(read_video_facts, path)).job_fingerprint == job_fingerprint
        except (FileNotFoundError, ValueError):  # ValueError: the file is no video
            return False

    def draft(self, job_id: str) -> AbstractContextManager[Path]:
        """Yield a path of this machine to write the job's video to; it is removed at the end of the block."""
        return self._videos.draft(video_name(job_id))

    async def publish(
        self, draft: Path, job_id: str, job_fingerprint: str, *, still_ours: Callable[[], Awaitable[bool]]
    ) -> bool:
        """Make the draft the job's video, durably; return False if a video that is stored stays.

        That is one with this fingerprint, or any if `still_ours`, which asks the log, returns False: the job may have
        ended with it. Another one is deleted with all that belongs to it. The exceptions of `still_ours` pass through.
        """
        if await self._videos.publish(draft, video_name(job_id)):
            return True
        if await self.exists(job_id, job_fingerprint) or not await still_ours():
            return False
        log.get().warning("stale_video_removed")
        for name in names_with_video(job_id):
            await self._videos.delete(name)
        return await self._videos.publish(draft, video_name(job_id))

    async def put_pictures(self, job_id: str, pictures: Mapping[Variant, bytes], *, fresh: bool) -> None:
        """Store the pictures of the job's video. `fresh` ones, of a video just published, replace those that are there.

        A failure is logged: a video without pictures is a video.
        """
        try:
            for variant, content in pictures.items():
                name = picture_name(job_id, variant)
                await (overwrite(self._videos, name, content) if fresh else self._videos.write(name, content))
        except OSError as error:
            log.get().warning("pictures_not_stored", error=repr(error))

    async def add_missing_pictures(self, job_id: str) -> None:
        """Make the pictures of a video that an earlier attempt has stored, unless they are there. Logs a failure."""
        try:
            if all([await self._videos.exists(name) for name in picture_names(job_id)]):
                return
            async with self._videos.local(video_name(job_id)) as path:
                pictures = await asyncio.to_thread(pictures_of_mp4, path)
        except Exception as error:  # noqa: BLE001  # whatever it is, the video is there
            log.get().warning("pictures_not_made", error=repr(error))
            return
        await self.put_pictures(job_id, pictures, fresh=False)


def no_room_for_video(error: Exception, job: Job, plan: Plan, ranks: int) -> str | None:
    """Return why the video cannot be stored, safe to show, if the error is of a full disk or memory; else None.

    `ranks` is the number of ranks of the cluster.
    """
    if isinstance(error, OSError) and no_room(error):
        return f"{STORAGE_FULL}: there is no room for the video"
    if out_of_memory.is_out_of_memory(error):
        return out_of_memory.advice("store", job, plan, ranks)
    return None
