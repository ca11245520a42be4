"""Delete a job for good, as far as the log goes: its tombstone, and the `JobDeleted` that no ending comes after.

The edge deletes jobs; the state service completes a deletion that an edge has begun. The order of the two writes makes
that possible: from the tombstone on the job will be deleted, whoever dies meanwhile.
"""

import asyncio

from contracts import subjects, wire
from contracts.broker import Expect, Stored, Unavailable
from contracts.events import JobDeleted
from contracts.job_log import JobLog

PUBLISH_WITHIN_S = 12.0  # longer than an election of three brokers


async def bury(job_log: JobLog, deleted: JobDeleted) -> None:
    """Write the job's tombstone, and publish the deletion over whatever ending the job has, unless it is deleted.

    An ending that is published at the same time comes before the deletion (compare-and-set by the last ending's
    sequence) or is refused. Raises `Unavailable`; the job may then be deleted or not, and is after another call.
    """
    await job_log.tombstones.put(deleted)
    deadline = asyncio.get_running_loop().time() + PUBLISH_WITHIN_S
    while not is_deletion(last := await job_log.stored_ending(deleted.job_id)):
        expect = Expect(0 if last is None else last.sequence, subjects.endings_of(deleted.job_id))
        within_s = deadline - asyncio.get_running_loop().time()
        if within_s <= 0:
            raise Unavailable("the endings of a job to be deleted do not settle")
        if await job_log.append(deleted, expect=expect, within_s=within_s):
            return


async def is_deleted(job_log: JobLog, job_id: str) -> bool:
    """Return whether the job is deleted, by its ending in the log, or its tombstone once the log has forgotten that."""
    return is_deletion(await job_log.stored_ending(job_id)) or await job_log.tombstones.find(job_id) is not None


def is_deletion(ending: Stored | None) -> bool:
    """Return whether a message of an ending, or none, is a `JobDeleted`."""
    return ending is not None and isinstance(wire.ending_in(ending), JobDeleted)
