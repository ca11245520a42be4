"""Mends what a crash or a damaged disk tore apart between queue and log. Decides nothing: it finishes what was begun.

Three gaps are possible. The broker does neither of two pairs in one step: an accepted job whose copy never reached the
log, and a job whose ending is in the log and which is still in the queue. And a broker that finds a block of its disk
damaged goes on without what lay behind the damage: a job of the log that has no ending and is not in the queue.
"""

from contracts import subjects
from contracts.broker import Refused, Stored
from contracts.job import is_job_id
from contracts.job_log import JobLog
from contracts.process import log
from services.state.records import Records

PUBLISH_WITHIN_S = 5.0


async def reconcile(job_log: JobLog, records: Records) -> set[str]:
    """Close the gaps, and return the ids of the jobs that are unfinished. Safe to run twice, or at the same time.

    The order of the reads is what makes it true: a job is in the queue before the log, and leaves it after its ending
    is in the log.
    """
    logged = await job_log.submitted_ids()
    queue = {subjects.job_id_of(job.subject): job for job in await job_log.queue.all()}
    ended = {subjects.job_id_of(ending.subject) for ending in await job_log.stored_endings()}
    for job_id in queue.keys() & ended:
        await job_log.queue.remove(queue[job_id])
        log.get().warning("ended_job_taken_from_queue", job_id=job_id)
    unfinished = queue.keys() - ended
    for job_id in unfinished - logged:
        await _copy(job_log, queue[job_id], job_id)
    lost = {job_id for job_id in logged - ended - queue.keys() if is_job_id(job_id)}
    for job_id in lost:
        await _bring_back(job_log, records, job_id)
    return unfinished | lost


async def _copy(job_log: JobLog, queued: Stored, job_id: str) -> None:
    """What the broker was to do: with the same message id, should its own copy still be on the way."""
    if await job_log.stored_submission(job_id) is not None:
        return  # it came after the log was read
    await job_log.copy_submission(job_id, queued.data, within_s=PUBLISH_WITHIN_S)
    log.get().warning("submission_copied_into_log", job_id=job_id)


async def _bring_back(job_log: JobLog, records: Records, job_id: str) -> None:
    """Put its ending into the log, if a record knows one; else the job into the queue.

    Asks the leader first: with replicas, what was read before may have been stale.
    """
    if await job_log.queue.find(job_id) is not None or await job_log.stored_ending(job_id) is not None:
        return
    try:
        ended = await records.bring_back(job_id)
        if not ended and (submitted := await job_log.stored_submission(job_id)) is not None:
            await job_log.queue.requeue(job_id, submitted.data, within_s=PUBLISH_WITHIN_S)
    except (Refused, OSError) as error:  # no room yet, or the record cannot be read
        log.get().warning("lost_job_left", job_id=job_id, error=repr(error))
    else:
        log.get().warning("lost_job_brought_back", job_id=job_id, ended=ended)
