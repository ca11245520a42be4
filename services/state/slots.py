"""Reconcile the slots of tenants with the jobs that there are, every few seconds. `__main__` runs `keep_slots`.

Whoever ends a job frees its slot. What is left is freed here:
- The slot of a job that has ended: its publisher died between the two, or was of a version without slots.
- The slot of a job that is neither in the queue nor in the log: the edge died before it published the job, or never
  learnt that the slot was stored.

Every state process does it. Idempotent, and safe beside another instance.
"""

import asyncio
from collections.abc import Iterable, Sequence

from contracts import subjects
from contracts.broker import Bus, Unavailable
from contracts.job import is_job_id
from contracts.job_log import JobLog
from contracts.process import lifetime, log
from contracts.process.reasons import Reasons
from contracts.slots import Slot
from services.state.own_numbers import ENDED, NO_JOB, StateNumbers

LOOK_EVERY_S = 5.0
YOUNG_S = 20.0
"""The age from which a slot needs a job: longer than an edge tries to publish one."""
JOBS_AT_ONCE = 250
"""Of how many jobs one request asks: the broker answers for 1024 subjects, and a job has up to three endings."""


async def keep_slots(broker: Bus, job_log: JobLog, numbers: StateNumbers, *, stop: asyncio.Event) -> None:
    """Free what slots are left over, at once and every `LOOK_EVERY_S`, until `stop`.

    Without the broker it is put off to the next look, and logged once for each reason.
    """
    keeper, reasons = SlotKeeper(broker, job_log, numbers), Reasons()
    while not stop.is_set():
        try:
            await keeper.free_left_over()
            reasons.over()
        except Unavailable as error:
            if reasons.is_new(str(error)):
                log.get().warning("slots_put_off", error=str(error))
        await lifetime.wait_until_set(stop, within_s=LOOK_EVERY_S)


class SlotKeeper:
    """Frees slots that are left over. One for the process."""

    def __init__(self, broker: Bus, job_log: JobLog, numbers: StateNumbers) -> None:
        self._broker, self._log, self._numbers = broker, job_log, numbers
        self._jobless: set[int] = set()
        """The sequences of the slots without a job as of the last look."""

    async def free_left_over(self) -> None:
        """Look at all slots once, and free those left over. Raises `Unavailable`.

        A slot without a job goes if the look before found it so too: after an outage, an edge may have a job in hand
        which it publishes as soon as it is connected again.
        """
        slots = await self._log.slots.all()
        job_ids = sorted({slot.job_id for slot in slots if is_job_id(slot.job_id)})
        ended = await self._having(subjects.EVENTS_STREAM, map(subjects.endings_of, job_ids))
        queued = await self._having(subjects.JOBS_STREAM, map(subjects.job_in_any_lane, job_ids))
        old = [slot for slot in slots if slot.job_id not in queued | ended]
        now = await self._broker.now() if old else 0.0
        jobless = {slot.sequence for slot in old if now - slot.at > YOUNG_S}
        for slot in slots:
            if slot.job_id in ended:
                await self._free(slot, ENDED)
            elif slot.sequence in jobless & self._jobless and not await self._is_there(slot.job_id):
                await self._free(slot, NO_JOB)
        self._jobless = jobless

    async def _having(self, stream: str, patterns: Iterable[str]) -> set[str]:
        """Return the ids of the jobs that have a message in a stream on one of these patterns, from any replica."""
        found: set[str] = set()
        for some in _chunks(list(patterns)):
            found |= {subjects.job_id_of(each.subject) for each in await self._broker.last_of_each(stream, some)}
        return found

    async def _is_there(self, job_id: str) -> bool:
        """Return whether queue or log has the job, by their leaders; False for what is no id of a job.

        A job that the queue has lost is in the log: it is going to be put back, or to end.
        """
        if not is_job_id(job_id):
            return False
        return await self._log.queue.find(job_id) is not None or await self._log.stored_submission(job_id) is not None

    async def _free(self, slot: Slot, why: str) -> None:
        """Free a slot, count that, and log it."""
        await self._log.slots.remove(slot)
        self._numbers.slots_freed.add(why)
        log.get().warning("slot_freed", job_id=slot.job_id, tenant=slot.tenant, why=why)


def _chunks(patterns: Sequence[str]) -> Iterable[Sequence[str]]:
    """Yield the patterns `JOBS_AT_ONCE` at a time."""
    return (patterns[start : start + JOBS_AT_ONCE] for start in range(0, len(patterns), JOBS_AT_ONCE))
