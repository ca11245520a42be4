"""Identify, publish, cancel and report jobs, by way of the broker and the stores. `submit` and the routes call it.

Never writes a status: a job's status is what the state service folds from the events that are published here and by
the cluster.
"""

import asyncio
import secrets
import time
import uuid
from contextlib import suppress
from mmap import mmap

from msgspec.structs import replace
from nats.js.api import StreamInfo

from contracts import subjects, wire
from contracts.broker import Bus, StreamFull, SubjectFull, Unavailable
from contracts.cluster import ClusterStatus
from contracts.events import JobCancelled, JobSubmitted
from contracts.fold import fold
from contracts.job import SEED_MAX, JobRequest, input_name, job_of, video_name
from contracts.job_log import JobLog
from contracts.process import log
from contracts.record import video_record_name
from contracts.status import JobStatus
from contracts.stores import Store, Trouble
from services.edge.body.idempotency import Identity, keyed_identity, new_identity
from services.edge.errors import AlreadyFinished, Busy, KeyReused, OutcomeUnknown
from services.edge.job_status import JobStatuses
from services.edge.resources.spool import Spool
from services.edge.retry_after import RetryAfter

PUBLISH_WITHIN_S = 12.0  # longer than an election of three brokers
INPUT_TAG_BYTES = 4


class Jobs:
    """The jobs of the service as one edge sees them. One for the process.

    `retention_s` is how long after its ending a job's status is shown. Methods raise `Unavailable` if the broker does
    not answer in time, and `OSError` if a store fails.
    """

    def __init__(self, broker: Bus, videos: Store, scratch: Store, *, retention_s: float) -> None:
        self._broker, self._videos, self._scratch = broker, videos, scratch
        self._log = JobLog(broker, publisher=uuid.uuid4().hex)
        self._statuses = JobStatuses(broker, self._log, retention_s=retention_s)
        self._retry_after = RetryAfter(broker, self._log, self.clusters)

    async def clusters(self) -> list[ClusterStatus]:
        """Return the clusters whose heartbeat has not expired. One that cannot be read is logged and left out."""
        found: list[ClusterStatus] = []
        for beat in await self._broker.values(subjects.CLUSTERS_BUCKET):
            try:
                found.append(wire.decode_cluster(beat))
            except wire.Undecodable as error:
                log.get().error("heartbeat_unreadable", error=str(error))
        return found

    async def check_for_room(self) -> None:
        """Raise `Busy` for a full queue, `Unavailable` for a store at fault; the broker decides anew at `publish`."""
        for trouble in await self.troubles():
            raise Unavailable(str(trouble))
        queue = await self._broker.stream(subjects.JOBS_STREAM)
        if queue.state.messages >= (queue.config.max_msgs or 0):
            raise await self._busy(queue)

    async def _busy(self, queue: StreamInfo) -> Busy:
        """Return, not raise, the refusal for a full queue, with an estimate when a place may be free."""
        allowed = queue.config.max_msgs or 0
        # A job may have ended since the broker refused this one; even so the refusal says that the queue is full.
        return Busy(max(queue.state.messages, allowed), allowed, await self._retry_after.seconds())

    async def troubles(self) -> list[Trouble]:
        """Return the faults for which an input could not be stored now, or the video later; empty if there are none."""
        found = await asyncio.gather(self._scratch.trouble(), self._videos.trouble())
        return [trouble for trouble in found if trouble is not None]

    async def identify(self, key: str | None, request: JobRequest, inline: Spool | None = None) -> Identity:
        """Return the job that a submission means: a new one, or under a key always the same one.

        `inline` is the image's `data:` URI, if that was taken out of the request.
        """
        if key is None:
            return new_identity()
        stored = await self._broker.get(subjects.SECRETS_BUCKET, subjects.IDEMPOTENCY_SECRET)
        if stored is None:
            raise Unavailable("no secret to derive ids from: the broker is not provisioned")
        return await asyncio.to_thread(keyed_identity, stored.data, key, request, inline)

    async def is_repeat(self, identity: Identity) -> bool:
        """Return whether the same request was accepted before under the same key; False without a key.

        Raises `KeyReused` if another request was accepted under the key, or one that cannot be read.
        """
        if identity.fingerprint is None:
            return False
        try:
            accepted = await self._log.submission_head(identity.job_id)
        except wire.Undecodable as error:  # a submission that cannot be read is not this request
            raise KeyReused from error
        if accepted is not None and accepted.fingerprint != identity.fingerprint:
            raise KeyReused
        return accepted is not None

    async def publish(self, request: JobRequest, png: bytes | mmap, identity: Identity) -> bool:
        """Store the input and publish the job. Return False if another submission of the same id was accepted first.

        A seed is drawn if the request has none. Each submission under a key has an input file of its own, which is
        deleted again if the job is not accepted, but stays if the outcome is unknown: the job may need it.
        Raises `Busy`, or `OutcomeUnknown` in place of `Unavailable`.
        """
        job_id, job = identity.job_id, job_of(request, seed=secrets.randbelow(SEED_MAX + 1))
        submitted = JobSubmitted(
            job_id=job_id,
            created_at=time.time(),
            job=job,
            fingerprint=identity.fingerprint,
            input_tag=None if identity.fingerprint is None else secrets.token_hex(INPUT_TAG_BYTES),
        )
        name = input_name(job_id, submitted.input_tag)
        await self._scratch.write(name, png)
        if await self._enqueue(submitted, input_file=name):
            log.get().info("job_accepted", job_id=job_id, num_frames=job.num_frames, steps=job.infer_steps)
            return True
        await self._scratch.delete(name)
        return False

    async def _enqueue(self, submitted: JobSubmitted, *, input_file: str) -> bool:
        """Publish the job, and return whether this submission is the one that was accepted under its id.

        Raises `OutcomeUnknown`, or `Busy`, for which the input file is deleted first.
        """
        job_id = submitted.job_id
        try:
            if await self._log.queue.add(submitted, within_s=PUBLISH_WITHIN_S):
                return True
        except SubjectFull:
            pass
        except StreamFull as error:
            await self._scratch.delete(input_file)
            raise await self._busy(await self._broker.stream(subjects.JOBS_STREAM)) from error
        except Unavailable as error:
            log.get().warning("submission_unanswered", job_id=job_id, error=str(error))
            raise OutcomeUnknown(job_id) from error
        return await self._is_ours(submitted)

    async def _is_ours(self, submitted: JobSubmitted) -> bool:
        """Return whether the accepted submission is this one, stored by an earlier try. Raises `OutcomeUnknown`."""
        try:
            return await self._log.submission(submitted.job_id) == submitted
        except wire.Undecodable:
            return False
        except Unavailable as error:
            raise OutcomeUnknown(submitted.job_id) from error

    async def status(self, job_id: str) -> JobStatus:
        """Return the status of a job, even while the state service lags or is away. Raises `NotFound`.

        A job in the queue has its `queue_position`. `video_url` is None if the video's file is gone.
        """
        status = await self._statuses.shown(job_id)
        if status.results is not None and not await self._videos.exists(video_name(job_id)):
            return replace(status, results=replace(status.results, video_url=None))
        return status

    async def status_or_none(self, job_id: str) -> JobStatus | None:
        """Return the status of a job however long ago it ended; None if neither bucket, log nor queue has it."""
        return await self._statuses.status_or_none(job_id)

    async def cancel(self, job_id: str) -> None:
        """End the job as cancelled, for good, and delete its files. Raises `NotFound` or `AlreadyFinished`."""
        status = await self._statuses.current(job_id)
        if not status.ended:
            ending = JobCancelled(job_id=job_id, at=time.time())
            status = fold(status, await self._log.publish_ending(ending, within_s=PUBLISH_WITHIN_S))
            if status.status == "Cancelled":
                log.get().info("job_cancelled", job_id=job_id)
        if status.status != "Cancelled":
            raise AlreadyFinished(status.status)
        await self._remove_what_is_left(job_id)

    async def _remove_what_is_left(self, job_id: str) -> None:
        """Remove a cancelled job from the queue, and delete its input, its video and the video's record.

        A cluster that stored the video before it learnt of the cancellation deletes the video too, unless it has died.
        """
        queued = await self._log.queue.find(job_id)
        tag = None
        with suppress(wire.Undecodable):  # then the state service's clean-up deletes the input
            head = await self._log.submission_head(job_id)
            tag = None if head is None else head.input_tag
        if queued is not None:
            await self._log.queue.remove(queued)
        await self._scratch.delete(input_name(job_id, tag))
        await self._videos.delete(video_record_name(job_id))
        await self._videos.delete(video_name(job_id))
