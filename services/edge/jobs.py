"""Submits, cancels and reports jobs by way of the broker. Never writes a status; fetches nothing; knows no HTTP."""

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
from contracts.fold import fold, fold_all
from contracts.job import SEED_MAX, JobRequest, accept, input_name, video_name
from contracts.job_log import JobLog
from contracts.process import log
from contracts.record import video_record_name
from contracts.status import JobStatus
from contracts.stores import Store, Trouble
from services.edge.body.idempotency import Identity, fresh, repeatable
from services.edge.errors import AlreadyFinished, Busy, KeyReused, NotFound, OutcomeUnknown
from services.edge.places import Places
from services.edge.resources.spool import Spool

PUBLISH_WITHIN_S = 12.0  # longer than an election of three brokers
INPUT_TAG_BYTES = 4


class Jobs:
    """The jobs of the service as one edge sees them; `retention_s` is how long an ended job's status is kept."""

    def __init__(self, broker: Bus, videos: Store, scratch: Store, *, retention_s: float) -> None:
        self._broker, self._videos, self._scratch, self._retention_s = broker, videos, scratch, retention_s
        self._log = JobLog(broker, publisher=uuid.uuid4().hex)
        self._places = Places(broker, self._log, self.clusters)

    async def clusters(self) -> list[ClusterStatus]:
        """The clusters whose heartbeat has not run out."""
        found: list[ClusterStatus] = []
        for beat in await self._broker.values(subjects.CLUSTERS_BUCKET):
            try:
                found.append(wire.decode_cluster(beat))
            except wire.Undecodable as error:
                log.get().error("heartbeat_unreadable", error=str(error))
        return found

    async def look_for_room(self) -> None:
        """A cheap look before dear work; the broker itself decides later. Raises `Busy` or `Unavailable`."""
        for trouble in await self.troubles():
            raise Unavailable(str(trouble))
        queue = await self._broker.stream(subjects.JOBS_STREAM)
        if queue.state.messages >= (queue.config.max_msgs or 0):
            raise await self._busy(queue)

    async def _busy(self, queue: StreamInfo) -> Busy:
        allowed = queue.config.max_msgs or 0
        # Somebody's may have ended since the broker refused this one.
        return Busy(max(queue.state.messages, allowed), allowed, await self._places.free_in_s())

    async def troubles(self) -> list[Trouble]:
        """Return why an input could not be stored now, or later the video."""
        found = await asyncio.gather(self._scratch.trouble(), self._videos.trouble())
        return [trouble for trouble in found if trouble is not None]

    async def identify(self, key: str | None, request: JobRequest, inline: Spool | None = None) -> Identity:
        """Which job this submission means. `inline` is its picture's URI, if that is not in the request."""
        if key is None:
            return fresh()
        stored = await self._broker.get(subjects.SECRETS_BUCKET, subjects.IDEMPOTENCY_SECRET)
        if stored is None:
            raise Unavailable("no secret to derive ids from: the broker is not provisioned")
        return await asyncio.to_thread(repeatable, stored.data, key, request, inline)

    async def is_repeat(self, identity: Identity) -> bool:
        """Whether this very request was accepted before. Raises `KeyReused` if its key was given with another one."""
        if identity.fingerprint is None:
            return False
        try:
            accepted = await self._log.submission_head(identity.job_id)
        except wire.Undecodable as error:  # whatever it is, it is not this request
            raise KeyReused from error
        if accepted is not None and accepted.fingerprint != identity.fingerprint:
            raise KeyReused
        return accepted is not None

    async def submit(self, request: JobRequest, png: bytes | mmap, identity: Identity) -> bool:
        """Store the input and publish the job; True if somebody published the same one at the same time.

        Each submission under a key has an input file of its own, and a refused one leaves nothing behind. Only if the
        outcome is unknown does the file stay: the job may have been accepted with it.

        Raises `Busy`, `KeyReused` or `OutcomeUnknown`.
        """
        job_id, job = identity.job_id, accept(request, seed=secrets.randbelow(SEED_MAX + 1))
        submitted = JobSubmitted(
            job_id=job_id,
            created_at=time.time(),
            job=job,
            fingerprint=identity.fingerprint,
            input_tag=None if identity.fingerprint is None else secrets.token_hex(INPUT_TAG_BYTES),
        )
        name = input_name(job_id, submitted.input_tag)
        await self._scratch.write(name, png)
        if await self._is_accepted(submitted, name):
            log.get().info("job_accepted", job_id=job_id, num_frames=job.num_frames, steps=job.infer_steps)
            return False
        await self._scratch.delete(name)
        return await self.is_repeat(identity)

    async def _is_accepted(self, submitted: JobSubmitted, name: str) -> bool:
        """Publish the job; False if another submission of the same id was accepted instead."""
        job_id = submitted.job_id
        try:
            if await self._log.queue.add(submitted, within_s=PUBLISH_WITHIN_S):
                return True
        except SubjectFull:
            pass
        except StreamFull as error:
            await self._scratch.delete(name)
            raise await self._busy(await self._broker.stream(subjects.JOBS_STREAM)) from error
        except Unavailable as error:
            log.get().warning("submission_unanswered", job_id=job_id, error=str(error))
            raise OutcomeUnknown(job_id) from error
        return await self._is_ours(submitted)

    async def _is_ours(self, submitted: JobSubmitted) -> bool:
        """Whether the submission that was accepted under this id is this one, by a try whose answer was lost."""
        try:
            return await self._log.submission(submitted.job_id) == submitted
        except wire.Undecodable:
            return False
        except Unavailable as error:
            raise OutcomeUnknown(submitted.job_id) from error

    async def status(self, job_id: str) -> JobStatus:
        """The job as it stands, even where the state service is behind or away. Raises `NotFound`."""
        status = await self._current(job_id)
        if status.results is not None and not await self._videos.exists(video_name(job_id)):
            return replace(status, results=replace(status.results, video_url=None))
        if status.status != "InQueue":
            return status
        return replace(status, queue_position=await self._log.queue.position(job_id))

    async def cancel(self, job_id: str) -> None:
        """End the job as cancelled, for good. Raises `NotFound` or `AlreadyFinished`."""
        status = await self._current(job_id)
        if not status.ended:
            ending = JobCancelled(job_id=job_id, at=time.time())
            status = fold(status, await self._log.end(ending, within_s=PUBLISH_WITHIN_S))
            if status.status == "Cancelled":
                log.get().info("job_cancelled", job_id=job_id)
        if status.status != "Cancelled":
            raise AlreadyFinished(status.status)
        await self._remove_what_is_left(job_id)

    async def _remove_what_is_left(self, job_id: str) -> None:
        """Free a cancelled job's place in the queue, and delete its input and whatever a cluster has stored for it.

        A cluster that has stored the video before it learnt of the cancellation deletes it too, unless it has died.
        """
        queued = await self._log.queue.find(job_id)
        tag = None
        with suppress(wire.Undecodable):  # then the sweeper takes it
            head = await self._log.submission_head(job_id)
            tag = None if head is None else head.input_tag
        if queued is not None:
            await self._log.queue.remove(queued)
        await self._scratch.delete(input_name(job_id, tag))
        await self._videos.delete(video_record_name(job_id))
        await self._videos.delete(video_name(job_id))

    async def _current(self, job_id: str) -> JobStatus:
        in_bucket = await self._in_bucket(job_id)
        status = await self._beyond(in_bucket, job_id)
        if status is None or (status.ended and in_bucket is None and await self._ended_too_long_ago(job_id)):
            raise NotFound("no such job, or it ended too long ago")
        return status

    async def _ended_too_long_ago(self, job_id: str) -> bool:
        """By when the broker stored the ending, and by the broker's clock."""
        stored = await self._log.stored_ending(job_id, leader=False)
        return stored is not None and stored.at + self._retention_s < await self._log.now()

    async def known(self, job_id: str) -> JobStatus | None:
        """The job for as long as anything knows it, however long ago it ended."""
        return await self._beyond(await self._in_bucket(job_id), job_id)

    async def _beyond(self, status: JobStatus | None, job_id: str) -> JobStatus | None:
        """Bucket, then the last ending, then the log, then the queue: what is not in one yet is in the next."""
        if status is None:
            status = fold_all(logged.event for logged in await self._log.events(job_id))
        if status is not None and not status.ended and (ending := await self._log.ending(job_id)) is not None:
            status = fold(status, ending)
        if status is None or status.created_at is None:
            queued = await self._log.queue.find(job_id)
            with suppress(wire.Undecodable):  # rank 0 ends what cannot be read
                status = status if queued is None else fold(status, wire.submission_in(queued))
        return status

    async def _in_bucket(self, job_id: str) -> JobStatus | None:
        stored = await self._broker.get(subjects.STATUS_BUCKET, job_id)
        try:
            return None if stored is None else wire.status_in(stored)
        except wire.Undecodable as error:  # the log knows
            log.get().error("status_unreadable", job_id=job_id, error=str(error))
            return None
