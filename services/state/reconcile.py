"""Mends what a crash tore apart between queue and log. Decides nothing: it only finishes what was begun.

Two gaps are possible, since the broker does neither pair in one step: an accepted job whose copy never reached the log,
and a job whose ending is in the log and which is still in the queue.
"""

from contracts import log, subjects
from contracts.bus import Bus, Stored

PUBLISH_WITHIN_S = 5.0


async def reconcile(broker: Bus) -> set[str]:
    """Close both gaps, and return the ids of the jobs that are unfinished. Safe to run twice, or at the same time."""
    unfinished: set[str] = set()
    for queued in await broker.read(subjects.JOBS_STREAM, subjects.ALL_JOBS):
        job_id = subjects.job_id_of(queued.subject)
        if await broker.last(subjects.EVENTS_STREAM, subjects.endings_of(job_id)) is not None:
            await broker.delete(subjects.JOBS_STREAM, queued.sequence)
            log.get().warning("ended_job_taken_from_queue", job_id=job_id)
            continue
        unfinished.add(job_id)
        if await broker.last(subjects.EVENTS_STREAM, subjects.submission_of(job_id)) is None:
            await _copy(broker, queued, job_id)
    return unfinished


async def _copy(broker: Bus, queued: Stored, job_id: str) -> None:
    """What the broker was to do: with the same message id, should its own copy still be on the way."""
    await broker.publish(subjects.submission_of(job_id), queued.data, message_id=job_id, within_s=PUBLISH_WITHIN_S)
    log.get().warning("submission_copied_into_log", job_id=job_id)
