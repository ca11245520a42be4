"""The log of a job: the one way to read and to write the events of a job and its message in the queue.

Edge, state, inference and the operator's tools use it, so that the fences of the event log are written once: optimistic
concurrency by expected sequences, and reading back what is there when an answer leaves open who has won. Reads that
decide something go to the stream's leader.
"""

import asyncio
from collections.abc import Sequence

from msgspec.structs import replace

from contracts import subjects, wire
from contracts.broker import Bus, Expect, Stored, Unavailable, WrongSequence
from contracts.events import AnyEnding, Ending, Event, JobSubmitted, Logged

PUBLISH_WITHIN_S = 30.0
READ_BACK_PAUSE_S = 0.2


class JobLog:
    """`publisher` is the instance of the process that writes; it is part of every message id.

    Every method raises `Unavailable` if the broker does not answer in time.
    """

    def __init__(self, broker: Bus, publisher: str) -> None:
        self._broker, self._publisher = broker, publisher

    # -- reading ---------------------------------------------------------------------------------------------------

    async def submission(self, job_id: str) -> JobSubmitted | None:
        """Return the job's submission, from the log or, before its copy is there, from the queue; None if in neither.

        Raises `wire.Undecodable`.
        """
        stored = await self._stored_submission(job_id)
        return None if stored is None else wire.decode_submission(stored.data)

    async def submission_head(self, job_id: str) -> wire.SubmissionHead | None:
        """Return what every version can read of the job's submission. Raises `wire.Undecodable`."""
        stored = await self._stored_submission(job_id)
        return None if stored is None else wire.decode_head(stored.data)

    async def ending(self, job_id: str) -> AnyEnding | None:
        """Return how the job ended; None if it has not."""
        stored = await self.stored_ending(job_id)
        return None if stored is None else wire.ending_in(stored)

    async def stored_ending(self, job_id: str, *, leader: bool = True) -> Stored | None:
        """Return the ending's message, with the time at which the broker stored it."""
        return await self._broker.last(subjects.EVENTS_STREAM, subjects.endings_of(job_id), leader=leader)

    async def last_start(self, job_id: str) -> Stored | None:
        """Return the message of the latest `started`."""
        return await self._broker.last(subjects.EVENTS_STREAM, subjects.starts_of(job_id))

    async def declined_at(self, job_id: str) -> float | None:
        """Return when a cluster first declined the job, by the broker's clock; None if none has."""
        stored = await self._broker.last(subjects.EVENTS_STREAM, subjects.declined(job_id))
        return None if stored is None else stored.at

    async def events(self, job_id: str) -> list[Logged]:
        """Return the job's readable events in the log's order. With replicas the last ones may be missing."""
        return logged(await self._broker.read(subjects.EVENTS_STREAM, subjects.events_of(job_id)))

    async def queued(self, job_id: str, *, leader: bool = True) -> Stored | None:
        """Return the job's message in the queue, waiting or being worked on; None if it is not in the queue."""
        return await self._broker.last(subjects.JOBS_STREAM, subjects.job_in_any_lane(job_id), leader=leader)

    async def now(self) -> float:
        """Return the time by the broker's clock, in Unix seconds, to compare with when messages were stored."""
        return await self._broker.now()

    async def _stored_submission(self, job_id: str) -> Stored | None:
        stored = await self._broker.last(subjects.EVENTS_STREAM, subjects.submission_of(job_id))
        return stored or await self.queued(job_id)

    # -- writing ---------------------------------------------------------------------------------------------------

    async def append(
        self,
        event: Event,
        *,
        expect: Expect | None = None,
        within_s: float = PUBLISH_WITHIN_S,
        message_id: str | None = None,
    ) -> bool:
        """Publish the event. With `expect`, return False if the log holds another message where this one would go.

        True means that the log holds this very event, stored now or by an earlier try whose answer was lost.
        """
        return await self._append(event, expect, within_s, message_id) is None

    async def end(self, ending: Ending, *, within_s: float = PUBLISH_WITHIN_S) -> AnyEnding:
        """Publish the ending unless the job has one, and return the ending that the job has: this one or the first."""
        expect = Expect(0, subjects.endings_of(ending.job_id))
        other = await self._append(ending, expect, within_s, None)
        return ending if other is None else wire.ending_in(other)

    async def _append(
        self, event: Event, expect: Expect | None, within_s: float, message_id: str | None
    ) -> Stored | None:
        """Return None if the log holds this event, else the message that it holds instead.

        A refusal with nothing to be read back means that another message is in flight on another broker, or that the
        broker counts a message that its disk has damaged. The first settles itself: try again until the deadline.
        """
        subject, payload = subjects.event(event), wire.encode(event)
        deadline = asyncio.get_running_loop().time() + within_s
        while True:
            try:
                await self._broker.publish(
                    subject,
                    payload,
                    message_id=message_id or subjects.message_id(event, self._publisher),
                    expect=expect,
                    within_s=deadline - asyncio.get_running_loop().time(),
                )
            except WrongSequence as refused:
                if expect is None:
                    raise
                found = await self._broker.last(subjects.EVENTS_STREAM, expect.subject or subject)
                if found is not None and found.sequence > expect.sequence:
                    return None if (found.subject, found.data) == (subject, payload) else found
                if refused.last is not None and await self._is_damaged(refused.last):
                    expect = replace(expect, sequence=refused.last)
            else:
                return None
            if asyncio.get_running_loop().time() + READ_BACK_PAUSE_S >= deadline:
                raise Unavailable(f"publish to {subject}: what is expected there stays unsettled")
            await asyncio.sleep(READ_BACK_PAUSE_S)

    async def _is_damaged(self, sequence: int) -> bool:
        """Return whether a single broker counts this message of the log and cannot read it.

        With replicas the answer is no: there an unreadable sequence may be a message in flight, and to publish after
        it would store a second ending.
        """
        replicas = (await self._broker.stream(subjects.EVENTS_STREAM)).config.num_replicas
        return replicas == 1 and await self._broker.at(subjects.EVENTS_STREAM, sequence) is None


def logged(stored: Sequence[Stored]) -> list[Logged]:
    """Decode messages of the log; what cannot be read is left out, but an ending is an ending all the same."""
    return [Logged(event, message.at) for message in stored for event in wire.readable_events([message])]
