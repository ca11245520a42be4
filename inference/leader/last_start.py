"""Read the last `started` in a job's log, which says whose the job is.

The planner numbers the next attempt after it, and a lease ends once it belongs to a later attempt.
"""

from msgspec import Struct

from contracts import wire
from contracts.events import Logged
from contracts.job_log import JobLog
from inference.leader.attempt_history import history_of


class LastStart(Struct, frozen=True):
    """The last `started` of a job: its attempt and its sequence in the log, both 0 if the job was never started.

    `events` holds the event itself, or nothing if it cannot be read; its attempt then counts as 0.
    """

    attempt: int = 0
    sequence: int = 0
    events: tuple[Logged, ...] = ()


async def last_start(job_log: JobLog, job_id: str) -> LastStart:
    """Return the last `started` of the job. Raises `Unavailable` if the broker does not answer in time."""
    stored = await job_log.stored_start(job_id)
    if stored is None:
        return LastStart()
    events = tuple(wire.logged([stored]))
    return LastStart(history_of(events).latest, stored.sequence, events)
