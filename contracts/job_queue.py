"""The queue of jobs: the one way to read, add, requeue and remove the message by which clusters get a job.

`JobLog.queue` is the queue beside a log. A job's message stays in the queue until its ending is in the log, so every
unfinished job has one; rank 0 pulls it through a durable consumer. Reads that decide something ask the stream's leader.
"""

from contextlib import suppress

from nats.js.errors import NotFoundError

from contracts import cloud_events, subjects, wire
from contracts.at_once import at_once
from contracts.broker import EVERY_SUBJECT, Bus, Stored, SubjectFull
from contracts.events import JobSubmitted
from contracts.recent import Recent
from contracts.shared_answers import SharedAnswers

PENDING_KEPT_S = 0.1
"""How long the number of waiting jobs is shared by all who ask for a position."""
PLACES_MAX = 4096
"""Of how many jobs the place in the queue's stream is remembered."""


class JobQueue:
    """The messages of jobs that wait or run.

    Every method raises `Unavailable` if the broker does not answer in time.
    """

    def __init__(self, broker: Bus) -> None:
        self._broker = broker
        self._pending = SharedAnswers(self._ask_pending, kept_s=PENDING_KEPT_S, kept_max=1)
        self._places = Recent[str, tuple[str, int]](PLACES_MAX)
        """The subject and sequence of each message whose position was asked for last, by job. Both never change."""

    async def find(self, job_id: str, *, leader: bool = True) -> Stored | None:
        """Return the job's message, waiting or being worked on; None without one. `leader` as in `Streams.last`."""
        return await self._broker.last(subjects.JOBS_STREAM, subjects.job_in_any_lane(job_id), leader=leader)

    async def all(self) -> list[Stored]:
        """Return the messages of all jobs, the oldest first. With replicas the last ones may be missing."""
        return await self._broker.read(subjects.JOBS_STREAM, subjects.ALL_JOBS)

    async def oldest(self, count: int) -> list[Stored]:
        """Return the messages of the first jobs, `count` of them or fewer, the oldest first."""
        return await self._broker.read(subjects.JOBS_STREAM, EVERY_SUBJECT, at_most=count)

    async def position(self, job_id: str) -> int | None:
        """Return the job's place among those that wait; 1 for the next one and for a job that runs, None for no job.

        Exact after cancellations, since it counts messages. May be stale with replicas, and by `PENDING_KEPT_S` after
        another process has added or removed a job or has begun one.
        """
        async with at_once() as tasks:
            pending = tasks.create_task(self._pending.get(subjects.INFERENCE_DURABLE))
            behind = await self._behind(job_id)
        return None if behind is None else max(1, pending.result() - behind)

    async def _behind(self, job_id: str) -> int | None:
        """Return how many messages come after the job's; None once the job is gone. Notes the place of its message."""
        place = self._places.pop(job_id, None)
        behind = None if place is None else await self._broker.count_after(subjects.JOBS_STREAM, *place)
        if place is None or behind is None:
            if (queued := await self.find(job_id, leader=False)) is None:
                return None
            place = queued.subject, queued.sequence
            behind = await self._broker.count_after(subjects.JOBS_STREAM, *place)
        if behind is not None:
            self._places[job_id] = place
        return behind

    async def _ask_pending(self, durable: str) -> int:
        """Return how many jobs wait: those that no cluster has pulled from the durable.

        Without the durable, which provisioning makes anew, that is every job.
        """
        try:
            return (await self._broker.consumer(subjects.JOBS_STREAM, durable)).num_pending or 0
        except NotFoundError:
            return (await self._broker.stream(subjects.JOBS_STREAM)).state.messages

    async def add(self, submitted: JobSubmitted, *, within_s: float) -> bool:
        """Put a job into the queue. Return False, storing nothing, if its id was put there in the last two minutes.

        Raises `StreamFull` if the queue is full, and `SubjectFull` if it holds a job of this id.
        """
        job_id = submitted.job_id
        published = await self._broker.publish(
            subjects.job(job_id),
            wire.encode(submitted),
            message_id=job_id,
            headers=cloud_events.headers(submitted, job_id),
            within_s=within_s,
        )
        self._pending.forget(subjects.INFERENCE_DURABLE)
        return not published.duplicate

    async def requeue(self, job_id: str, submission: bytes, *, within_s: float) -> None:
        """Publish a job that the queue has lost, in a lane of its own, since a damaged message keeps its subject.

        The message id is the job's, by which the log takes its own copy for a repeat. For two minutes after a
        submission the queue remembers that id too, of the message that it has lost, and drops the new message: then
        publish without an id. A lane holds at most one message of a subject, which keeps the job from being doubled: if
        it holds one, nothing is published. Raises `StreamFull` if the queue is full.
        """
        subject = subjects.job(job_id, subjects.REQUEUED_LANE)
        headers = cloud_events.submission_headers(job_id, submission)
        with suppress(SubjectFull):  # requeued by another instance, or by an earlier try whose answer was lost
            for message_id in (job_id, None):
                published = await self._broker.publish(
                    subject, submission, message_id=message_id, headers=headers, within_s=within_s
                )
                if not published.duplicate:
                    return

    async def remove(self, queued: Stored) -> None:
        """Delete a job's message for good, so that no cluster gets the job; one that is gone already is no error."""
        await self._broker.delete(subjects.JOBS_STREAM, queued.sequence)
        self._pending.forget(subjects.INFERENCE_DURABLE)
