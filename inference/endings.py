"""How an attempt ends: an event in the log, then the message and what only the job needed. Knows no rank.

An ending is published before the message is acknowledged, and refused by the broker where another was first.
"""

import asyncio
import hashlib
import time
from contextlib import suppress
from pathlib import Path

from contracts import log, subjects, wire
from contracts.blobs import Store, overwrite
from contracts.bus import Delivery, Expect, WrongSequence
from contracts.events import Ending, JobFailed, JobReleased, JobSucceeded
from contracts.job import input_name, video_name, video_path, video_url
from contracts.record import Record, record_name
from inference.attempt import Attempt
from inference.checkpoints import Checkpoints
from inference.journal import Journal
from inference.video import probe

RELEASE_WITHIN_S = 5.0


class Endings:
    def __init__(
        self, journal: Journal, *, videos: Store, scratch: Store, checkpoints: Checkpoints, instance: str
    ) -> None:
        self._journal, self._videos, self._scratch, self._instance = journal, videos, scratch, instance
        self._checkpoints = checkpoints

    async def succeed(self, attempt: Attempt) -> None:
        """The video is there: say so. It goes again where the job has ended otherwise meanwhile."""
        name = video_name(attempt.job_id)
        async with self._videos.local(name) as path:
            size_bytes, sha256 = await asyncio.to_thread(_digest, path)
            facts = await asyncio.to_thread(probe, path)
        ending = JobSucceeded(
            job_id=attempt.job_id,
            at=time.time(),
            attempt=attempt.number,
            instance=self._instance,
            video_url=video_url(attempt.job_id),
            video_path=video_path(attempt.job_id),
            width=facts.width,
            height=facts.height,
            num_frames=facts.num_frames,
            duration=facts.duration,
            size_bytes=size_bytes,
            sha256=sha256,
            seed=attempt.job.seed,
            timings=attempt.timings(),
        )
        await self._write_record(Record(submitted=attempt.planned.submitted, ending=ending))
        winner = await self.end(ending)
        if not isinstance(winner, JobSucceeded):
            await self._videos.delete(record_name(ending))
            await self._videos.delete(name)
        await self.finish(attempt.delivery, attempt.job_id)

    async def _write_record(self, record: Record) -> None:
        """Beside the video, before anybody may know of it; in place of what an attempt before this one has left.

        Where there is no room for it, state writes it later.
        """
        name, content = record_name(record.ending), wire.encode_record(record)
        try:
            await overwrite(self._videos, name, content)
        except OSError as error:
            log.get().warning("record_put_off", error=repr(error))

    async def fail(self, delivery: Delivery, job_id: str, attempt: int, reason: str) -> None:
        await self.end(
            JobFailed(job_id=job_id, at=time.time(), attempt=attempt, instance=self._instance, reason=reason)
        )
        await self.finish(delivery, job_id)

    async def release(self, attempt: Attempt) -> None:
        """No ending: the job goes to the next one who asks, and this attempt does not count."""
        released = JobReleased(job_id=attempt.job_id, at=time.time(), attempt=attempt.number, instance=self._instance)
        await self._journal.write(released, within_s=RELEASE_WITHIN_S)
        await attempt.hand_back()
        log.get().info("job_released")

    async def end(self, ending: Ending) -> Ending | None:
        """Publish an ending, and return the one that the job has: ours, or the one that was first."""
        try:
            await self._journal.write(ending, expect=Expect(0, subjects.endings_of(ending.job_id)))
        except WrongSequence:  # somebody else's, or ours whose acknowledgement was lost
            winner = await self._journal.ending(ending.job_id)
        else:
            winner = ending
        log.get().info("job_ended", ending=type(winner).__name__, ours=winner == ending)
        return winner

    async def finish(self, delivery: Delivery, job_id: str) -> None:
        """The ending is stored: the message may go, and what only the job needed."""
        await delivery.acknowledge()
        with suppress(ValueError):  # an id that is no file name never had an input
            await self._scratch.delete(input_name(job_id))
        with suppress(OSError, ValueError):  # what stays is left to the sweeper
            await self._checkpoints.remove(job_id)


def _digest(path: Path) -> tuple[int, str]:
    """Size in bytes and SHA-256 of a file."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), sha256
