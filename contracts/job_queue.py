"""The queue of jobs: the one way to read, add, requeue and remove the message by which clusters get a job.

`JobLog.queue` is the queue beside a log. A job's message stays in the queue until its ending is in the log, so every
unfinished job has one; rank 0 pulls it through a durable consumer. Reads that decide something ask the stream's leader.
"""

from contextlib import suppress

from contracts import subjects, wire
from contracts.broker import Bus, Stored, SubjectFull
from contracts.events import JobSubmitted


class JobQueue:
    """The messages of jobs that wait or run.

    Every method raises `Unavailable` if the broker does not answer in time.
    """

    def __init__(self, broker: Bus) -> None:
        self._broker = broker

    async def find(self, job_id: str, *, leader: bool = True) -> Stored | None:
        """Return the job's message, waiting or being worked on; None without one. `leader` as in `Streams.last`."""
        return await self._broker.last(subjects.JOBS_STREAM, subjects.job_in_any_lane(job_id), leader=leader)

    async def all(self) -> list[Stored]:
        """Return the messages of all jobs, the oldest first. With replicas the last ones may be missing."""
        return await self._broker.read(subjects.JOBS_STREAM, subjects.ALL_JOBS)

    async def position(self, job_id: str) -> int | None:
        """Return the job's place among those that wait; 1 for the next one and for a job that runs, None for no job.

        Exact after cancellations, since it counts messages. May be stale with replicas.
        """
        queued = await self.find(job_id, leader=False)
        if queued is None:
            return None
        behind = await self._broker.count_after(subjects.JOBS_STREAM, subjects.ALL_JOBS, queued.sequence)
        if behind is None:
            return None
        consumer = await self._broker.consumer(subjects.JOBS_STREAM, subjects.INFERENCE_DURABLE)
        return max(1, (consumer.num_pending or 0) - behind)

    async def add(self, submitted: JobSubmitted, *, within_s: float) -> bool:
        """Put a job into the queue. Return False, storing nothing, if its id was put there in the last two minutes.

        Raises `StreamFull` if the queue is full, and `SubjectFull` if it holds a job of this id.
        """
        job_id = submitted.job_id
        published = await self._broker.publish(
            subjects.job(job_id), wire.encode(submitted), message_id=job_id, within_s=within_s
        )
        return not published.duplicate

    async def requeue(self, job_id: str, submission: bytes, *, within_s: float) -> None:
        """Publish a job that the queue has lost, in a lane of its own, since a damaged message keeps its subject.

        The message id is the job's, by which the log takes its own copy for a repeat. For two minutes after a
        submission the queue remembers that id too, of the message that it has lost, and drops the new message: then
        publish without an id. A lane holds at most one message of a subject, which keeps the job from being doubled: if
        it holds one, nothing is published. Raises `StreamFull` if the queue is full.
        """
        subject = subjects.job(job_id, subjects.REQUEUED_LANE)
        with suppress(SubjectFull):  # requeued by another instance, or by an earlier try whose answer was lost
            for message_id in (job_id, None):
                published = await self._broker.publish(subject, submission, message_id=message_id, within_s=within_s)
                if not published.duplicate:
                    return

    async def remove(self, queued: Stored) -> None:
        """Delete a job's message for good, so that no cluster gets the job; one that is gone already is no error."""
        await self._broker.delete(subjects.JOBS_STREAM, queued.sequence)
