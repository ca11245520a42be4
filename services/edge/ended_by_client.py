"""End a job that a client cancels, and log the end of one that a client cancels or deletes: no cluster may have had it.

`job_ending` calls it.
"""

import time
from contextlib import suppress

from contracts import subjects, wire
from contracts.broker import Bus, Unavailable
from contracts.events import AnyEnding, JobCancelled, JobDeleted, JobSubmitted
from contracts.job_ended import Known, log_ended, standing_alone
from contracts.job_log import JobLog
from contracts.process import log
from contracts.status import JobStatus


async def publish_cancellation(broker: Bus, job_log: JobLog, status: JobStatus, *, within_s: float) -> AnyEnding:
    """Publish that the job that stands like this is cancelled, unless it has ended, and return the ending that it has.

    Raises `Unavailable`.
    """
    known = await _facts_of(broker, job_log, status)
    ending = standing_alone(JobCancelled(job_id=status.job_id, at=time.time()), known)
    winner = await job_log.publish_ending(ending, within_s=within_s)
    if winner == ending:
        log.get().info("job_cancelled", job_id=ending.job_id)
        log_ended(ending, known, ours=True)
    return winner


async def _facts_of(broker: Bus, job_log: JobLog, status: JobStatus) -> Known:
    """Return what job it is that stands like this, and how long it waited. Raises `Unavailable`."""
    submitted = None
    with suppress(wire.Undecodable):
        submitted = await job_log.submission(status.job_id)
    starts = await broker.read(subjects.EVENTS_STREAM, subjects.starts_of(status.job_id))
    return Known(
        submitted=submitted,
        size=_size_of(status),
        attempts=max(status.attempt, len(starts)),
        waited_s=starts[0].at - submitted.created_at if starts and submitted is not None else None,
    )


async def submission_for_log(job_log: JobLog, job_id: str) -> JobSubmitted | None:
    """Return what job it was, as far as the job's log can be asked for that; read before a deletion purges it."""
    with suppress(Unavailable, wire.Undecodable):
        return await job_log.submission(job_id)
    return None


def log_deleted(ending: JobDeleted, status: JobStatus, submitted: JobSubmitted | None) -> None:
    """Log that a client has ended a job by deleting it, and what job it was. `status` is how the job stood."""
    log_ended(ending, Known(submitted=submitted, size=_size_of(status), attempts=status.attempt), ours=True)


def _size_of(status: JobStatus) -> str | None:
    """Return the size of the job's video as `W*H`; None if no attempt has said it."""
    return f"{status.width}*{status.height}" if status.width else None
