"""The slots by which a tenant has only so many unfinished jobs: admission control, exact over any number of edges.

`JobLog.slots` are the slots beside a log. An edge takes a slot right before it publishes a job; whoever publishes the
job's ending frees it. Optimistic concurrency keeps the limit: a slot is stored only if the last message on the tenant's
pattern is the last one that was counted. Apart from new ones at the end, messages of a stream only go. So every slot
that is there then has been counted, also by a replica that lags.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Awaitable, Iterable
from contextlib import asynccontextmanager
from typing import Protocol
from weakref import WeakValueDictionary

from msgspec import Struct
from nats.js.errors import APIError

from contracts import subjects
from contracts.broker import Bus, Expect, Refused, Unavailable, WrongSequence
from contracts.process import log

TAKE_WITHIN_S = 8.0
"""How long a slot is tried for: longer than an election of three brokers takes."""
TRY_WITHIN_S = 1.0
PAUSE_S_MAX = 0.04
"""The longest pause before another try; each pause is drawn from 0 up to it."""
FREE_WITHIN_S = 2.0
"""How long whoever ends a job waits for its slot to be freed; the state service frees what is left."""
MARK_BYTES = 8

_draw = secrets.SystemRandom()


class SlotsFull(Exception):
    """The tenant has as many unfinished jobs as it may, by the word of the stream's leader: other jobs, `job_ids`."""

    def __init__(self, job_ids: frozenset[str]) -> None:
        super().__init__(f"{len(job_ids)} slots are taken")
        self.job_ids = job_ids


class SlotsUnsettled(Exception):
    """A slot could neither be taken nor refused in time. If one was stored all the same, the state service frees it."""


class Slot(Struct, frozen=True):
    """A message of the stream of slots; `at` is when it was stored, in Unix seconds of the broker's clock.

    Tenant and job id are tokens of a subject: anybody with the right to publish there may have written them.
    """

    tenant: str
    job_id: str
    sequence: int
    at: float


class Slotted(Protocol):
    """A submission, or the head of one, as far as slots go."""

    @property
    def job_id(self) -> str: ...
    @property
    def tenant(self) -> str: ...
    @property
    def has_slot(self) -> bool: ...


class Slots:
    """The slots of all tenants, as one process takes and frees them."""

    def __init__(self, broker: Bus) -> None:
        self._broker = broker
        self._turns = WeakValueDictionary[str, asyncio.Lock]()
        """The turn to take a slot of a tenant, of those for which one is being taken: tries of one process never
        collide."""

    # -- admission ---------------------------------------------------------------------------------------------------

    async def take(self, tenant: str, job_id: str, limit: int, *, within_s: float = TAKE_WITHIN_S) -> int:
        """Take one of the tenant's `limit` slots for a job, and return the sequence, by which to `give_back`.

        A job has one slot, however often it is submitted. Each submission stores a message under the job's subject, so
        that it can give back its own. Raises `SlotsFull` if other jobs have all slots, and `SlotsUnsettled` if that is
        not settled after `within_s`, for want of the broker or under contention.
        """
        deadline, mark = _now() + within_s, secrets.token_hex(MARK_BYTES).encode()
        problem: Exception = TimeoutError("other submissions wait")
        async with self._turn(tenant, within_s):
            while (left_s := deadline - _now()) > 0:
                try:
                    return await self._try(tenant, job_id, limit, mark, min(TRY_WITHIN_S, left_s))
                except (Unavailable, Refused) as error:
                    problem = error
                await asyncio.sleep(_draw.uniform(0, PAUSE_S_MAX))
        raise SlotsUnsettled(repr(problem)) from problem

    @asynccontextmanager
    async def _turn(self, tenant: str, within_s: float) -> AsyncGenerator[None, None]:
        """Wait for this process's turn to take a slot of the tenant, and hold it for the length of the block.

        Raises `SlotsUnsettled` after `within_s`.
        """
        turn = self._turns.setdefault(tenant, asyncio.Lock())
        try:
            async with asyncio.timeout(within_s):
                await turn.acquire()
        except TimeoutError as error:
            raise SlotsUnsettled("other submissions wait") from error
        try:
            yield
        finally:
            turn.release()

    async def _try(self, tenant: str, job_id: str, limit: int, mark: bytes, within_s: float) -> int:
        """Try once to store a slot with this mark, or find what an unanswered try has stored; return its sequence.

        Raises `SlotsFull`; `WrongSequence` if a slot was taken or freed meanwhile; another `Refused`; `Unavailable`.
        """
        pattern = subjects.slots_of(tenant)
        taken = await self._broker.read(subjects.SLOTS_STREAM, pattern, within_s=within_s)
        subject = subjects.slot(tenant, job_id)
        for each in taken:
            if (each.subject, each.data) == (subject, mark):
                return each.sequence
        if len(_others((each.subject for each in taken), job_id)) >= limit:
            await self.check_for_room(tenant, job_id, limit, within_s=within_s)
            raise WrongSequence("a replica lags")
        expect = Expect(taken[-1].sequence if taken else 0, pattern)
        return (await self._broker.publish(subject, mark, expect=expect, within_s=within_s)).sequence

    async def check_for_room(self, tenant: str, job_id: str, limit: int, *, within_s: float = TAKE_WITHIN_S) -> None:
        """Raise `SlotsFull` if other jobs have all slots of the tenant now; `take` decides anew.

        One request to the leader, whose cost hardly grows with the slots. Raises `Unavailable` after `within_s`.
        """
        pattern = subjects.slots_of(tenant)
        try:
            taken = await self._broker.subjects(subjects.SLOTS_STREAM, pattern, within_s=within_s)
        except APIError as error:  # such as that the stream is not provisioned
            raise Unavailable(f"reading slots: {error}") from error
        if len(others := _others(taken, job_id)) >= limit:
            raise SlotsFull(others)

    # -- freeing -----------------------------------------------------------------------------------------------------

    async def give_back(self, sequence: int) -> None:
        """Free the slot of a submission that was refused. Raises nothing: the state service frees what is left."""
        await _quietly(self._broker.delete(subjects.SLOTS_STREAM, sequence))

    async def free(self, submission: Slotted | None) -> None:
        """Free the slot of a job that has ended; idempotent. Raises nothing: the state service frees what is left.

        Asks the broker nothing about a job without a slot, and waits no longer than `FREE_WITHIN_S` for one with.
        """
        if submission is not None and submission.has_slot:
            subject = subjects.slot(submission.tenant, submission.job_id)
            await _quietly(self._broker.purge(subjects.SLOTS_STREAM, subject))

    async def remove(self, slot: Slot) -> None:
        """Remove one message of the stream; one that is gone is no error. Raises `Unavailable`."""
        await self._broker.delete(subjects.SLOTS_STREAM, slot.sequence)

    # -- what there is -----------------------------------------------------------------------------------------------

    async def all(self) -> list[Slot]:
        """Return the messages of all tenants' slots, the oldest first. With replicas the last ones may be missing.

        A job has several if it was submitted several times. Raises `Unavailable`.
        """
        stored = await self._broker.read(subjects.SLOTS_STREAM, subjects.ALL_SLOTS)
        return [Slot(*subjects.tenant_and_job_of_slot(each.subject), each.sequence, each.at) for each in stored]


def _others(taken: Iterable[str], job_id: str) -> frozenset[str]:
    """Return the ids of the jobs that have these slots, by their subjects, but for one job."""
    return frozenset(subjects.tenant_and_job_of_slot(subject)[1] for subject in taken) - {job_id}


async def _quietly(freeing: Awaitable[None]) -> None:
    """Wait for `freeing` up to `FREE_WITHIN_S`, and log its failure."""
    try:
        async with asyncio.timeout(FREE_WITHIN_S):
            await freeing
    except (Unavailable, APIError, TimeoutError) as error:
        log.get().warning("slot_left_to_state", error=repr(error))


def _now() -> float:
    return asyncio.get_running_loop().time()
