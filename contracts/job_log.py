"""The log of jobs: the one way to read and to write the events of a job.

Edge, state, inference and the operator's tools use it, so that the fences of the event log are written once: optimistic
concurrency (compare-and-set) by expected sequences, and reading the log back when an answer leaves open who has won.
Reads that decide something ask the stream's leader.
"""

import asyncio

from msgspec.structs import replace
from nats.js.api import StreamInfo

from contracts import cloud_events, message_ids, subjects, wire
from contracts.answers import is_answer
from contracts.broker import Bus, Expect, Stored, Unavailable, WrongSequence
from contracts.events import AnyEnding, Ending, Event, JobSubmitted, Logged
from contracts.job_queue import JobQueue
from contracts.preview import Preview
from contracts.slots import Slots
from contracts.tombstones import Tombstones

PUBLISH_WITHIN_S = 30.0
READ_BACK_PAUSE_S = 0.2


class JobLog:
    """The log as one process reads and writes it, made once beside the process's connection.

    `publisher` is the instance of the process; it is part of every message id. Every method raises `Unavailable` if the
    broker does not answer in time; one that publishes also raises `Refused`, for example if a message is too large.
    """

    def __init__(self, broker: Bus, publisher: str) -> None:
        self._broker, self._publisher = broker, publisher
        self.queue, self.tombstones, self.slots = JobQueue(broker), Tombstones(broker), Slots(broker)

    # -- reading a job -----------------------------------------------------------------------------------------------

    async def submission(self, job_id: str) -> JobSubmitted | None:
        """Return the job's submission, from the log or, before its copy is there, from the queue; None if in neither.

        Raises `wire.Undecodable`.
        """
        stored = await self._submission(job_id)
        return None if stored is None else wire.decode_submission(stored.data)

    async def submission_head(self, job_id: str) -> wire.SubmissionHead | None:
        """Return the part of the job's submission that every version can read, found as `submission` is.

        Raises `wire.Undecodable`.
        """
        stored = await self._submission(job_id)
        return None if stored is None else wire.decode_head(stored.data)

    async def _submission(self, job_id: str) -> Stored | None:
        """Return the message of the submission, from the log or else from the queue; None if in neither."""
        return await self.stored_submission(job_id) or await self.queue.find(job_id)

    async def stored_submission(self, job_id: str) -> Stored | None:
        """Return the message of the job's submission in the log; None if it is not there (yet, or any more)."""
        return await self._broker.last(subjects.EVENTS_STREAM, subjects.submission_of(job_id))

    async def ending(self, job_id: str) -> AnyEnding | None:
        """Return the job's ending, `EndingUnknown` if it cannot be decoded; None if the job has not ended."""
        stored = await self.stored_ending(job_id)
        return None if stored is None else wire.ending_in(stored)

    async def stored_ending(self, job_id: str, *, leader: bool = True) -> Stored | None:
        """Return the message of the job's ending; None if it has not ended. `leader` as in `Streams.last`.

        An answer of the broker is none; one after the ending hides that one until state deletes the answer.
        """
        found = await self._broker.last(subjects.EVENTS_STREAM, subjects.endings_of(job_id), leader=leader)
        return None if found is None or is_answer(found) else found

    async def stored_start(self, job_id: str) -> Stored | None:
        """Return the message of the job's latest `JobStarted`; None if no attempt has begun."""
        return await self._broker.last(subjects.EVENTS_STREAM, subjects.starts_of(job_id))

    async def declined_at(self, job_id: str) -> float | None:
        """Return when a cluster first declined the job, in Unix seconds of the broker's clock; None if none has."""
        stored = await self._broker.last(subjects.EVENTS_STREAM, subjects.declined(job_id))
        return None if stored is None else stored.at

    async def events(self, job_id: str) -> list[Logged]:
        """Return the job's events in the log's order, the ending last (`wire.logged`). Some may lack, with replicas.

        The ending is asked of the leader: by a batch no answer of the broker can be told from it.
        """
        found = await self._broker.read(subjects.EVENTS_STREAM, subjects.events_of(job_id))
        others = [each for each in found if not subjects.is_ending(each.subject)]
        ending = await self.stored_ending(job_id) if len(others) < len(found) else None
        return wire.logged(others if ending is None else [*others, ending])

    # -- reading the log ---------------------------------------------------------------------------------------------

    async def submitted_ids(self) -> set[str]:
        """Return the ids of the jobs whose submission is in the log: tokens of subjects, which may be no job ids."""
        submissions = await self._broker.subjects(subjects.EVENTS_STREAM, subjects.ALL_SUBMISSIONS)
        return {subjects.job_id_of(subject) for subject in submissions}

    async def stored_endings(self) -> list[Stored]:
        """Return the messages of all endings in the log's order. With replicas the last ones may be missing."""
        return await self._broker.read(subjects.EVENTS_STREAM, subjects.ALL_ENDINGS)

    async def last_success(self) -> Stored | None:
        """Return the message of the latest `JobSucceeded` of any job; None if there is none."""
        return await self._broker.last(subjects.EVENTS_STREAM, subjects.ALL_SUCCESSES)

    async def info(self) -> StreamInfo:
        """Return the limits of the log's stream, and how full it is."""
        return await self._broker.stream(subjects.EVENTS_STREAM)

    async def now(self) -> float:
        """Return the time by the broker's clock, in Unix seconds, to compare with when messages were stored."""
        return await self._broker.now()

    # -- writing -----------------------------------------------------------------------------------------------------

    async def append(
        self,
        event: Event,
        *,
        expect: Expect | None = None,
        within_s: float = PUBLISH_WITHIN_S,
        message_id: str | None = None,
    ) -> bool:
        """Publish the event. With `expect`, return False if the log holds another message where this one would go.

        True means that the log holds this very event, stored now or by an earlier try whose answer was lost. Without
        `message_id` the id is derived from event and publisher (`message_ids.of`).
        """
        return await self._append(event, expect, within_s, message_id) is None

    async def publish_ending(self, ending: Ending, *, within_s: float = PUBLISH_WITHIN_S) -> AnyEnding:
        """Publish the ending unless the job has one, and return the ending in the log: this one or the first."""
        expect = Expect(0, subjects.endings_of(ending.job_id))
        other = await self._append(ending, expect, within_s, None)
        return ending if other is None else wire.ending_in(other)

    async def show(self, preview: Preview) -> bool:
        """Publish a preview to whoever listens now; nothing is stored. Return False if it was dropped."""
        return await self._broker.publish_unstored(subjects.previews_of(preview.job_id), wire.encode(preview))

    async def copy_submission(self, job_id: str, submission: bytes, *, within_s: float) -> None:
        """Publish a queued job's encoded submission into the log, as the broker should have done itself.

        The message id is that of the broker's own copy, which may still be on the way: the log keeps one of the two.
        """
        subject, headers = subjects.submission_of(job_id), cloud_events.submission_headers(job_id, submission)
        await self._broker.publish(subject, submission, message_id=job_id, headers=headers, within_s=within_s)

    async def _append(
        self, event: Event, expect: Expect | None, within_s: float, message_id: str | None
    ) -> Stored | None:
        """Publish the event. Return None if the log holds it then, else the message that the log holds instead.

        Raises `Unavailable` if that is not settled after `within_s`.
        A refusal with nothing to be read back means that another message is in flight on another broker, or that the
        broker counts a message that its disk has damaged. The first settles itself; so does an answer of the broker,
        which state deletes: try again until the deadline. For the second, expect the sequence of the damaged message.
        """
        subject, payload = subjects.event(event), wire.encode(event)
        message_id = message_id or message_ids.of(event, self._publisher)
        headers = cloud_events.headers(event, message_id)
        deadline = asyncio.get_running_loop().time() + within_s
        while True:
            try:
                await self._broker.publish(
                    subject,
                    payload,
                    message_id=message_id,
                    expect=expect,
                    headers=headers,
                    within_s=deadline - asyncio.get_running_loop().time(),
                )
            except WrongSequence as refused:
                if expect is None:
                    raise
                found = await self._broker.last(subjects.EVENTS_STREAM, expect.subject or subject)
                if found is not None and found.sequence > expect.sequence and not is_answer(found):
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

        True for the sequence 0, which stands for no message: what was expected has been purged, or the log lost.

        With replicas return False: an unreadable sequence may then be a message in flight, and to publish after it
        would store a second ending.
        """
        replicas = (await self.info()).config.num_replicas
        return replicas == 1 and (not sequence or await self._broker.at(subjects.EVENTS_STREAM, sequence) is None)
