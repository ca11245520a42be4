"""What the edge asks of the broker about jobs, and tells it. Never writes a status; fetches nothing; knows no HTTP."""

import secrets
import time
from contextlib import suppress

from msgspec.structs import replace

from contracts import log, subjects, wire
from contracts.blobs import Store
from contracts.bus import Bus, Expect, StreamFull, SubjectFull, Unavailable, WrongSequence
from contracts.cluster import ClusterStatus
from contracts.events import Ending, JobCancelled, JobSubmitted
from contracts.fold import fold, fold_all
from contracts.job import SEED_MAX, JobRequest, accept, input_name, video_name
from contracts.status import JobStatus
from services.edge.errors import AlreadyFinished, Busy, KeyReused, NotFound, OutcomeUnknown
from services.edge.idempotency import Identity, fresh, repeatable

PUBLISH_WITHIN_S = 12.0  # longer than an election


class Jobs:
    """`retention_s` is how long an ended job's status is kept."""

    def __init__(self, broker: Bus, videos: Store, scratch: Store, *, retention_s: float) -> None:
        self._broker, self._videos, self._scratch, self._retention_s = broker, videos, scratch, retention_s

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
        if not await self.storable():
            raise Unavailable("a store is full or cannot be written to")
        queue = await self._broker.stream(subjects.JOBS_STREAM)
        if queue.state.messages >= (queue.config.max_msgs or 0):
            raise Busy

    async def storable(self) -> bool:
        """Whether an input could be stored now, and later the video."""
        return await self._scratch.writable() and await self._videos.writable()

    async def identify(self, key: str | None, request: JobRequest) -> Identity:
        """Which job this submission means."""
        if key is None:
            return fresh()
        stored = await self._broker.get(subjects.SECRETS_BUCKET, subjects.IDEMPOTENCY_SECRET)
        if stored is None:
            raise Unavailable("no secret to derive ids from: the broker is not provisioned")
        return repeatable(stored.data, key, request)

    async def is_repeat(self, identity: Identity) -> bool:
        """Whether this very request was accepted before. Raises `KeyReused` where another one was, under its key."""
        if identity.fingerprint is None:
            return False
        accepted = await self._submission(identity.job_id)
        if accepted is not None and accepted.fingerprint != identity.fingerprint:
            raise KeyReused
        return accepted is not None

    async def submit(self, request: JobRequest, png: bytes, identity: Identity) -> bool:
        """Store the input and publish the job; True where somebody published the same one at the same time.

        Raises `Busy`, `KeyReused` or `OutcomeUnknown`.
        """
        job_id, job = identity.job_id, accept(request, seed=secrets.randbelow(SEED_MAX + 1))
        submitted = JobSubmitted(job_id=job_id, created_at=time.time(), job=job, fingerprint=identity.fingerprint)
        await self._scratch.write(input_name(job_id), png)
        try:
            await self._publish(submitted)
        except SubjectFull:
            return await self.is_repeat(identity)
        except StreamFull as error:
            if identity.fingerprint is None:  # under a key a repeat may just have been accepted with this input
                await self._scratch.delete(input_name(job_id))
            raise Busy from error
        except Unavailable as error:  # perhaps it was stored: its input stays
            log.get().warning("submission_unanswered", job_id=job_id, error=str(error))
            raise OutcomeUnknown(job_id) from error
        if identity.fingerprint is not None and await self._submission(job_id) != submitted:
            return await self.is_repeat(identity)  # the broker took ours for a repeat of another's
        log.get().info("job_accepted", job_id=job_id, num_frames=job.num_frames, steps=job.infer_steps)
        return False

    async def _submission(self, job_id: str) -> JobSubmitted | None:
        """The submission under this id, from the log or, where its copy is not there (yet), from the queue."""
        stored = await self._broker.last(subjects.EVENTS_STREAM, subjects.submission_of(job_id))
        stored = stored or await self._broker.last(subjects.JOBS_STREAM, subjects.job_in_any_lane(job_id))
        return None if stored is None else wire.decode_submission(stored.data)

    async def status(self, job_id: str) -> JobStatus:
        """The job as it stands, even where the state service is behind or away. Raises `NotFound`."""
        status = await self._current(job_id)
        if status.results is not None and not await self._videos.exists(video_name(job_id)):
            return replace(status, results=replace(status.results, video_url=None))
        if status.status != "InQueue":
            return status
        return replace(status, queue_position=await self._position(job_id))

    async def cancel(self, job_id: str) -> None:
        """End the job as cancelled, for good. Raises `NotFound` or `AlreadyFinished`."""
        status = await self._current(job_id)
        if not status.ended:
            status = fold(status, await self._end_cancelled(job_id))
        if status.status != "Cancelled":
            raise AlreadyFinished(status.status)
        queued = await self._broker.last(subjects.JOBS_STREAM, subjects.job_in_any_lane(job_id))
        if queued is not None:
            await self._broker.delete(subjects.JOBS_STREAM, queued.sequence)
        await self._scratch.delete(input_name(job_id))

    async def _end_cancelled(self, job_id: str) -> Ending:
        """Publish the ending, and return the one that the job has: this one, or the one that was first."""
        ending = JobCancelled(job_id=job_id, at=time.time())
        try:
            await self._publish(ending, expect=Expect(0, subjects.endings_of(job_id)))
        except WrongSequence:
            return await self._ending(job_id) or ending
        log.get().info("job_cancelled", job_id=job_id)
        return ending

    async def _publish(self, event: JobSubmitted | JobCancelled, *, expect: Expect | None = None) -> None:
        subject = subjects.job(event.job_id) if isinstance(event, JobSubmitted) else subjects.event(event)
        await self._broker.publish(
            subject,
            wire.encode(event),
            message_id=subjects.message_id(event),
            expect=expect,
            within_s=PUBLISH_WITHIN_S,
        )

    async def _current(self, job_id: str) -> JobStatus:
        in_bucket = await self._in_bucket(job_id)
        status = await self._beyond(in_bucket, job_id)
        if status is None or (status.ended and in_bucket is None and await self._ended_too_long_ago(job_id)):
            raise NotFound("no such job, or it ended too long ago")
        return status

    async def _ended_too_long_ago(self, job_id: str) -> bool:
        """By when the broker stored the ending, and this machine's clock; what the bucket still has has not."""
        stored = await self._broker.last(subjects.EVENTS_STREAM, subjects.endings_of(job_id), leader=False)
        return stored is not None and stored.at + self._retention_s < time.time()

    async def known(self, job_id: str) -> JobStatus | None:
        """The job for as long as anything knows it, however long ago it ended."""
        return await self._beyond(await self._in_bucket(job_id), job_id)

    async def _beyond(self, status: JobStatus | None, job_id: str) -> JobStatus | None:
        """Bucket, then the last ending, then the log, then the queue: what is not in one yet is in the next."""
        if status is None:
            events = await self._broker.read(subjects.EVENTS_STREAM, subjects.events_of(job_id))
            status = fold_all(wire.readable_events(events))
        elif not status.ended and (ending := await self._ending(job_id)) is not None:
            status = fold(status, ending)
        if status is None or status.created_at is None:
            queued = await self._broker.last(subjects.JOBS_STREAM, subjects.job_in_any_lane(job_id))
            with suppress(wire.Undecodable):  # rank 0 ends what cannot be read
                status = status if queued is None else fold(status, wire.decode_submission(queued.data))
        return status

    async def _in_bucket(self, job_id: str) -> JobStatus | None:
        stored = await self._broker.get(subjects.STATUS_BUCKET, job_id)
        try:
            return None if stored is None else wire.decode_status(stored.data)
        except wire.Undecodable as error:  # the log knows
            log.get().error("status_unreadable", job_id=job_id, error=str(error))
            return None

    async def _ending(self, job_id: str) -> Ending | None:
        stored = await self._broker.last(subjects.EVENTS_STREAM, subjects.endings_of(job_id))
        return None if stored is None else wire.ending_in(stored)

    async def _position(self, job_id: str) -> int | None:
        """1 for the next job to run. Exact after cancels, since it counts messages; None once the job is gone."""
        queued = await self._broker.last(subjects.JOBS_STREAM, subjects.job_in_any_lane(job_id), leader=False)
        if queued is None:
            return None
        behind = await self._broker.count_after(subjects.JOBS_STREAM, subjects.ALL_JOBS, queued.sequence)
        if behind is None:
            return None
        consumer = await self._broker.consumer(subjects.JOBS_STREAM, subjects.INFERENCE_DURABLE)
        return max(1, (consumer.num_pending or 0) - behind)
