"""Prints how many slots each tenant has taken, a line for each tenant: `python -m ops.slots` (`just slots`).

Only tenants with a limit of unfinished jobs have slots. A slot without a job in the queue is of a job that is being
published or has just ended; the state service frees those that are left over. It only reads.
"""

import asyncio
from collections.abc import Sequence

from msgspec import Struct

from contracts import subjects
from contracts.broker import Bus
from contracts.process import env, log, start
from contracts.slots import Slot, Slots
from ops.broker import Settings, answering
from ops.printing import reader_may_leave, span

HEAD = ("tenant", "slots", "oldest", "without a job")


class Taken(Struct, frozen=True):
    """The slots that the broker holds, and the ids of the jobs in the queue; `now` is the broker's time."""

    slots: Sequence[Slot]
    queued: frozenset[str]
    now: float


async def read(broker: Bus) -> Taken:
    """Return what the broker holds now. Raises `Unavailable`, and `NotFoundError` if it is not provisioned."""
    await broker.stream(subjects.SLOTS_STREAM)
    slots = await Slots(broker).all()
    queued = await broker.subjects(subjects.JOBS_STREAM, subjects.ALL_JOBS)
    return Taken(slots, frozenset(map(subjects.job_id_of, queued)), await broker.now())


def table(taken: Taken) -> list[str]:
    """Return the lines to print: a table with the tenants in the order of their names, or a sentence without any."""
    tenants = sorted({slot.tenant for slot in taken.slots})
    if not tenants:
        return ["no slot is taken"]
    rows = [HEAD, *(_row(tenant, taken) for tenant in tenants)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _row(tenant: str, taken: Taken) -> tuple[str, ...]:
    """Return the cells of a tenant. A job that was submitted several times at once counts once."""
    slots = [slot for slot in taken.slots if slot.tenant == tenant]
    job_ids = {slot.job_id for slot in slots}
    oldest_s = taken.now - min(slot.at for slot in slots)
    return log.escaped(tenant), str(len(job_ids)), span(oldest_s), str(len(job_ids - taken.queued))


async def main() -> None:
    """Print the slots. Ends the process with a sentence if the broker is away, silent, or not provisioned."""
    start.configure_log("slots")
    async with answering(env.read(Settings), name="slots") as broker:
        taken = await read(broker)
    with reader_may_leave():
        print("\n".join(table(taken)))


if __name__ == "__main__":
    with start.refusing("slots"):
        asyncio.run(main())
