"""Identify, publish, end, list and report jobs, by way of the broker and the stores. `submit` and the routes call it.

Never writes a status: a job's status is what the state service folds from the events that are published here and by
the cluster.
"""

import asyncio
import secrets
import time
import uuid
from mmap import mmap

from msgspec.structs import replace
from nats.js.api import StreamInfo

from contracts import subjects, wire
from contracts.broker import Bus, StreamFull, SubjectFull, Unavailable
from contracts.cluster import ClusterStatus
from contracts.events import JobSubmitted
from contracts.job import SEED_MAX, JobRequest, input_name, job_of, video_name
from contracts.job_deletion import is_deleted
from contracts.job_log import JobLog
from contracts.live_clusters import live_clusters
from contracts.process import log, tracing
from contracts.status import JobStatus
from contracts.stores import Store, Trouble
from contracts.tenant import Tenant
from services.edge.body.idempotency import Identity
from services.edge.errors import Busy, Deleted, KeyReused, OutcomeUnknown, Overloaded, TenantBusy
from services.edge.forecast import Forecasts
from services.edge.job_ending import PUBLISH_WITHIN_S, JobEnder
from services.edge.job_list import JobList
from services.edge.job_status import StatusReader
from services.edge.listed_jobs import ListedJobs
from services.edge.retry_after import RetryAfter
from services.edge.tenant_slots import TenantSlots

INPUT_TAG_BYTES = 4
IN_QUEUE = {"messaging.system": "nats", "messaging.destination.name": subjects.JOBS_STREAM}


class Jobs:
    """The jobs of the service as one edge sees them. One for the process.

    `retention_s` is how long after its ending a job's status is shown. Methods raise `Unavailable` if the broker does
    not answer in time, and `OSError` if a store fails.
    """

    def __init__(self, broker: Bus, videos: Store, scratch: Store, *, retention_s: float) -> None:
        self._broker, self._videos, self._scratch = broker, videos, scratch
        self.log = JobLog(broker, publisher=uuid.uuid4().hex)
        """The log of all jobs, which this edge writes under one name."""
        forecasts = Forecasts(broker, self.log, self.clusters)
        self._statuses = StatusReader(broker, self.log, forecasts, retention_s=retention_s)
        ender = JobEnder(broker, self.log, self._statuses, videos, scratch)
        self.cancel, self.delete = ender.cancel, ender.delete
        """`JobEnder`'s: end the job as cancelled; delete it with all that there is of it."""
        listed = ListedJobs(broker, self.log, self._statuses)
        self.forget = self._statuses.forget
        """`StatusReader`'s: ask anew how a job stands that another edge may have deleted."""
        self.find, self.page = listed.find, JobList(broker, self.log, listed).page
        """`ListedJobs`' and `JobList`'s: one job with its submission; a page of the list of jobs."""
        self._retry_after = RetryAfter(forecasts)
        self._slots = TenantSlots(self.log.slots, self._retry_after)

    async def clusters(self) -> list[ClusterStatus]:
        """Return the clusters whose heartbeat has not expired."""
        return await live_clusters(self._broker)

    async def check_for_room(self, tenant: Tenant, job_id: str) -> None:
        """Raise `Busy` if queue or tenant is full, `Unavailable` if a store is at fault; `publish` decides anew."""
        for trouble in await self.troubles():
            raise Unavailable(str(trouble))
        queue = await self._broker.stream(subjects.JOBS_STREAM)
        if queue.state.messages >= (queue.config.max_msgs or 0):
            raise await self._busy_refusal(queue)
        await self._slots.check_for_room(tenant, job_id)

    async def _busy_refusal(self, queue: StreamInfo) -> Busy:
        """Return, not raise, the refusal for a full queue, with an estimate when a place may be free."""
        allowed = queue.config.max_msgs or 0
        # A job may have ended since the broker refused this one; even so the refusal says that the queue is full.
        return Busy(max(queue.state.messages, allowed), allowed, await self._retry_after.seconds())

    async def troubles(self) -> list[Trouble]:
        """Return the faults for which an input could not be stored now, or the video later; empty if there are none."""
        found = await asyncio.gather(self._scratch.trouble(), self._videos.trouble())
        return [trouble for trouble in found if trouble is not None]

    async def is_repeat(self, identity: Identity) -> bool:
        """Return whether the same request was accepted before under the same key; False without a key.

        Raises `KeyReused` if another request was accepted under the key, or one that cannot be read, and `Deleted` if
        the job was deleted.
        """
        if identity.fingerprint is None:
            return False
        if await is_deleted(self.log, identity.job_id):
            raise Deleted
        try:
            accepted = await self.log.submission_head(identity.job_id)
        except wire.Undecodable as error:  # a submission that cannot be read is not this request
            raise KeyReused from error
        if accepted is not None and accepted.fingerprint != identity.fingerprint:
            raise KeyReused
        return accepted is not None

    async def store_input_and_enqueue(
        self, request: JobRequest, png: bytes | mmap, identity: Identity, tenant: Tenant, *, remixed_from: str | None
    ) -> bool:
        """Store the input and publish the tenant's job. Return False if another of its id was first.

        A seed is drawn if the request has none. `remixed_from` is the job that the new one is a remix of. Each
        submission under a key has an input file of its own, deleted if the job is not accepted, kept if that is
        unknown. Raises `Busy`, `Overloaded`, `Deleted` if the key's job was deleted meanwhile, or `OutcomeUnknown` for
        `Unavailable`.
        """
        job_id, job = identity.job_id, job_of(request, seed=secrets.randbelow(SEED_MAX + 1))
        submitted = JobSubmitted(
            job_id=job_id,
            created_at=time.time(),
            job=job,
            fingerprint=identity.fingerprint,
            input_tag=None if identity.fingerprint is None else secrets.token_hex(INPUT_TAG_BYTES),
            metadata=request.metadata or None,
            webhook_url=request.webhook_url or None,
            remixed_from=remixed_from,
            tenant=tenant.name,
            has_slot=tenant.jobs_max is not None,
        )
        name = input_name(job_id, submitted.input_tag)
        with tracing.span("store picture"):
            await self._scratch.write(name, png)
        with tracing.span("publish job", {**IN_QUEUE, tracing.JOB_ID: job_id}, kind="producer"):
            is_first = await self._enqueue(submitted, tenant, input_file=name)
        if is_first:
            if identity.fingerprint is not None and await is_deleted(self.log, job_id):
                await self._withdraw(submitted, name)
                raise Deleted
            log.get().info("job_accepted", job_id=job_id, num_frames=job.num_frames, steps=job.infer_steps)
        else:
            await self._scratch.delete(name)
        return is_first

    async def _withdraw(self, submitted: JobSubmitted, input_file: str) -> None:
        """Remove a job from the queue that was deleted before it was published, its slot, and its input."""
        if (queued := await self.log.queue.find(submitted.job_id)) is not None:
            await self.log.queue.remove(queued)
        await self.log.slots.free(submitted)
        await self._scratch.delete(input_file)

    async def _enqueue(self, submitted: JobSubmitted, tenant: Tenant, *, input_file: str) -> bool:
        """Publish the job, and return whether this submission is the one that was accepted under its id.

        Raises `OutcomeUnknown`, or `Busy` or `Overloaded`, for which the input file is deleted first.
        """
        job_id = submitted.job_id
        try:
            async with self._slots.taken(tenant, job_id):
                if await self.log.queue.add(submitted, within_s=PUBLISH_WITHIN_S):
                    return True
        except SubjectFull:
            pass
        except StreamFull as error:
            await self._scratch.delete(input_file)
            raise await self._busy_refusal(await self._broker.stream(subjects.JOBS_STREAM)) from error
        except (TenantBusy, Overloaded):
            await self._scratch.delete(input_file)
            raise
        except Unavailable as error:
            log.get().warning("submission_unanswered", job_id=job_id, error=str(error))
            raise OutcomeUnknown(job_id) from error
        return await self._is_ours(submitted)

    async def _is_ours(self, submitted: JobSubmitted) -> bool:
        """Return whether the accepted submission is this one, stored by an earlier try. Raises `OutcomeUnknown`."""
        try:
            return await self.log.submission(submitted.job_id) == submitted
        except wire.Undecodable:
            return False
        except Unavailable as error:
            raise OutcomeUnknown(submitted.job_id) from error

    async def status(self, job_id: str) -> JobStatus:
        """Return the status of a job, even while the state service lags or is away. Raises `NotFound`.

        A job in the queue has its `queue_position`. `video_url` is None if the video's file is gone.
        """
        status = await self._statuses.status_to_show(job_id)
        if status.results is not None and not await self._videos.exists(video_name(job_id)):
            return replace(status, results=replace(status.results, video_url=None))
        return status

    async def status_or_none(self, job_id: str) -> JobStatus | None:
        """Return the status of a job however long ago it ended; None if neither bucket, log nor queue has it.

        Raises `NotFound` if the job is deleted.
        """
        return await self._statuses.status_or_none(job_id)
