"""Mends what a crash tore apart between queue and log. Decides nothing: it only finishes what was begun.

Two gaps are possible, since the broker does neither pair in one step: an accepted job whose copy never reached the log,
and a job whose ending is in the log and which is still in the queue.
"""

from contracts import log, subjects
from contracts.bus import Bus, Stored

PUBLISH_WITHIN_S = 5.0


async def reconcile(broker: Bus) -> set[str]:
    """Close both gaps, and return the ids of the jobs that are unfinished. Safe to run twice, or at the same time."""
    queue = {subjects.job_id_of(job.subject): job for job in await broker.read(subjects.JOBS_STREAM, subjects.ALL_JOBS)}
    ended = await _in_log(broker, [subjects.endings_of(job_id) for job_id in queue])
    for job_id in ended:
        await broker.delete(subjects.JOBS_STREAM, queue[job_id].sequence)
        log.get().warning("ended_job_taken_from_queue", job_id=job_id)
    unfinished = queue.keys() - ended
    copied = await _in_log(broker, [subjects.submission_of(job_id) for job_id in unfinished])
    for job_id in unfinished - copied:
        await _copy(broker, queue[job_id], job_id)
    return unfinished


async def _in_log(broker: Bus, patterns: list[str]) -> set[str]:
    """The jobs of which the log holds an event on one of these patterns."""
    events = await broker.last_of_each(subjects.EVENTS_STREAM, patterns)
    return {subjects.job_id_of(event.subject) for event in events}


async def _copy(broker: Bus, queued: Stored, job_id: str) -> None:
    """What the broker was to do: with the same message id, should its own copy still be on the way."""
    await broker.publish(subjects.submission_of(job_id), queued.data, message_id=job_id, within_s=PUBLISH_WITHIN_S)
    log.get().warning("submission_copied_into_log", job_id=job_id)
