"""End an attempt: publish the ending, then acknowledge the message and delete the files that only the job needed.

`AttemptRunner` and `Leader` call it. An ending is published before the message is acknowledged, and the log refuses it
if the job has one (compare-and-set): the first ending stands. Files are deleted only after an ending that this version
can read.
"""

import asyncio
import hashlib
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from msgspec.structs import replace

from contracts import wire
from contracts.bounds import clipped
from contracts.broker import Delivery, Expect
from contracts.cluster import ClusterStatus
from contracts.events import (
    AnyEnding,
    Ending,
    EndingUnknown,
    JobCancelled,
    JobDeclined,
    JobDeleted,
    JobFailed,
    JobReleased,
    JobSucceeded,
)
from contracts.job import input_name, video_name, video_path, video_url
from contracts.job_ended import Known, log_ended, standing_alone
from contracts.job_log import JobLog
from contracts.process import log, tracing
from contracts.record import Record, record_name
from contracts.stores import Store, overwrite
from contracts.video_files import names_with_video
from inference.leader.attempt import Attempt
from inference.leader.job_checkpoints import JobCheckpoints
from inference.leader.job_message import head_in
from inference.leader.mp4 import read_video_facts

RELEASE_WITHIN_S = 5.0
DECLINED_AGAIN_AFTER_S = 10.0
"""How long a job that this version does not know is left to other clusters before it is delivered again."""


class JobCompleter:
    """Completes the jobs of one cluster; one for the life of the process.

    Every method raises `Unavailable` if the broker does not answer in time, and `OSError` if a store fails.
    """

    def __init__(
        self,
        job_log: JobLog,
        *,
        videos: Store,
        scratch: Store,
        checkpoints: JobCheckpoints,
        cluster: ClusterStatus,
        public_url: str = "",
    ) -> None:
        """Make a completer of `cluster`. `public_url` is where clients find the edges; empty if that is not known."""
        self._job_log, self._videos, self._scratch = job_log, videos, scratch
        self._checkpoints, self._instance, self._model = checkpoints, cluster.instance, cluster.model
        self._public_url = public_url.rstrip("/")
        self.ended = Counter[str]()
        """The events by which this cluster has ended attempts since its start, by their type's name."""

    async def succeed(self, attempt: Attempt) -> AnyEnding:
        """Publish the success of a job whose video is stored, with its record, and take the job from the queue.

        If the job was cancelled or has failed meanwhile, that ending stays and the video is deleted. Returns the ending
        that the job has.
        """
        name = video_name(attempt.job_id)
        async with self._videos.local(name) as path:
            size_bytes, sha256 = await asyncio.to_thread(_size_and_sha256, path)
            facts = await asyncio.to_thread(read_video_facts, path)
        ending = JobSucceeded(
            job_id=attempt.job_id,
            at=time.time(),
            attempt=attempt.number,
            instance=self._instance,
            video_url=self._public_url + video_url(attempt.job_id),
            video_path=video_path(attempt.job_id),
            width=facts.width,
            height=facts.height,
            num_frames=facts.num_frames,
            duration=facts.duration,
            size_bytes=size_bytes,
            sha256=sha256,
            seed=attempt.job.seed,
            timings=attempt.timings(),
            cropped=attempt.prepared.cropped,
        )
        ending = standing_alone(ending, attempt.known)
        await self._write_record(Record(submitted=attempt.prepared.submitted, ending=ending))
        winner = await self.publish_ending(ending, attempt.known)
        await self.acknowledge_and_clean_up(attempt.delivery, winner)
        return winner

    async def _write_record(self, record: Record) -> None:
        """Write the record beside the video before the ending is published, replacing an earlier attempt's record.

        If the store has no room for it, the state service writes the record later.
        """
        name, content = record_name(record.ending), wire.encode_record(record)
        try:
            await overwrite(self._videos, name, content)
        except OSError as error:
            log.get().warning("record_put_off", error=repr(error))

    async def fail(
        self, delivery: Delivery, job_id: str, attempt: int, reason: str, known: Known | None = None
    ) -> AnyEnding:
        """Publish the job's failure, unless it has ended already, and take the job from the queue; return its ending.

        `reason` is safe to show, and is clipped; `attempt` is 0 if no attempt had begun, and then `known` is left out.
        """
        ending = JobFailed(
            job_id=job_id, at=time.time(), attempt=attempt, instance=self._instance, reason=clipped(reason)
        )
        if known is None:
            with suppress(wire.Undecodable):
                known = Known(submitted=wire.decode_submission(delivery.data))
        ending = standing_alone(ending, known or Known())
        winner = await self.publish_ending(ending, known)
        await self.acknowledge_and_clean_up(delivery, winner)
        return winner

    async def decline(self, delivery: Delivery, job_id: str, unknown: str, *, patience_s: float) -> None:
        """Leave a job that this version does not know to a newer cluster, and fail it if none comes.

        `unknown` names what is not known, safe to show. The first cluster to decline the job notes it in the log; once
        that is `patience_s` ago the job ends. Until then its message is delivered again at intervals, to any cluster.
        """
        declined_at = await self._job_log.declined_at(job_id)
        if declined_at is None:
            event = JobDeclined(job_id=job_id, at=time.time(), instance=self._instance, unknown=clipped(unknown))
            await self._job_log.append(event, expect=Expect(0))
            log.get().warning("job_declined", unknown=unknown)
        elif await self._job_log.now() - declined_at > patience_s:
            reason = f"no cluster knows what the job asks for ({unknown})"
            await self.fail(delivery, job_id, 0, reason)
            return
        await delivery.hand_back(after_s=min(DECLINED_AGAIN_AFTER_S, patience_s))

    async def release(self, attempt: Attempt) -> None:
        """Hand the job back to the queue without an ending; this attempt does not count against the job.

        If the log does not take that in time, `Unavailable` is raised and the job is not handed back.
        """
        released = JobReleased(job_id=attempt.job_id, at=time.time(), attempt=attempt.number, instance=self._instance)
        await self._job_log.append(released, within_s=RELEASE_WITHIN_S)
        await attempt.hand_back()
        self.ended[type(released).__name__] += 1
        log.get().info("job_released")

    async def publish_ending(self, ending: Ending, known: Known | None = None) -> AnyEnding:
        """Publish an ending, log it, and return the ending that the job has: this one, or the one that was first."""
        with tracing.span("publish ending", {tracing.JOB_ID: ending.job_id, "wanjet.event": type(ending).__name__}):
            winner = await self._job_log.publish_ending(ending)
        if winner == ending:
            self.ended[type(ending).__name__] += 1
        log_ended(winner, replace(known or Known(), model=self._model), ours=winner == ending)
        return winner

    async def acknowledge_and_clean_up(self, delivery: Delivery, ending: AnyEnding) -> None:
        """Free the job's slot, take the job from the queue, and delete its files, now that its ending is stored.

        If the job was cancelled or deleted, or has failed, its input is deleted, and a video that this attempt has
        stored meanwhile with its pictures; the input of a success stays for remixes. If this version cannot read the
        ending, no file is deleted: how the job ended is not known here.
        """
        head = head_in(delivery.data)
        await self._job_log.slots.free(head)
        if isinstance(ending, JobFailed | JobCancelled | JobDeleted):
            with suppress(ValueError):  # an id that is not a file name has no file
                for name in names_with_video(ending.job_id):
                    await self._videos.delete(name)
        await delivery.acknowledge()
        if isinstance(ending, EndingUnknown):
            log.get().warning("files_kept", why="the ending cannot be read")
            return
        if head is not None and not isinstance(ending, JobSucceeded):
            with suppress(ValueError):
                await self._scratch.delete(input_name(ending.job_id, head.input_tag))
        with suppress(OSError, ValueError):  # the sweeper deletes what is left
            await self._checkpoints.remove(ending.job_id)


def _size_and_sha256(path: Path) -> tuple[int, str]:
    """Return the size in bytes and the SHA-256 of a file."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), sha256
