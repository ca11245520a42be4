"""Reconcile the queue with the log after a crash or a damaged disk. `__main__` calls `reconcile` in every clean-up.

Three gaps are possible, and each is closed:
- A job is in the queue but not in the log: the broker died between the two. Its submission is copied into the log.
- A job's ending is in the log but the job still in the queue: the acknowledgement was lost. The job is taken out.
- A job of the log has no ending and is not in the queue: the broker lost a damaged block of its disk. The job's ending
  comes back from its record, or the job goes back into the queue.
"""

from collections.abc import Set as AbstractSet

from contracts import subjects
from contracts.broker import Refused, Stored
from contracts.job import is_job_id
from contracts.job_log import JobLog
from contracts.process import log, tracing
from services.state.records import Records

PUBLISH_WITHIN_S = 5.0


async def reconcile(job_log: JobLog, records: Records, deleted: AbstractSet[str] = frozenset()) -> set[str]:
    """Close the gaps, and return the ids of the unfinished jobs. Idempotent, and safe beside another instance.

    The ids include every lost job, also one whose ending has just come back. `deleted` are the ids of deleted jobs,
    none of which comes back. Raises `Unavailable`.

    The order of the reads makes the comparison true: a job is in the queue before it is in the log, and leaves the
    queue after its ending is in the log.
    """
    logged = await job_log.submitted_ids()
    queue = {subjects.job_id_of(job.subject): job for job in await job_log.queue.all()}
    ended = {subjects.job_id_of(ending.subject) for ending in await job_log.stored_endings()}
    ended |= deleted
    for job_id in queue.keys() & ended:
        with tracing.joined(queue[job_id].traceparent):
            await job_log.queue.remove(queue[job_id])
            log.get().warning("ended_job_taken_from_queue", job_id=job_id)
    unfinished = queue.keys() - ended
    for job_id in unfinished - logged:
        with tracing.joined(queue[job_id].traceparent):
            await _copy_submission_into_log(job_log, queue[job_id], job_id)
    lost = {job_id for job_id in logged - ended - queue.keys() if is_job_id(job_id)}
    for job_id in lost:
        await _restore_ending_or_requeue(job_log, records, job_id)
    return unfinished | lost


async def _copy_submission_into_log(job_log: JobLog, queued: Stored, job_id: str) -> None:
    """Copy a job's submission from the queue into the log, as the broker should have done.

    The message id is that of the broker's own copy, so that the log drops the second of the two. If the log refuses the
    copy, that is logged and left to the next clean-up.
    """
    if await job_log.stored_submission(job_id) is not None:
        return  # the broker's copy arrived after the log was read
    try:
        await job_log.copy_submission(job_id, queued.data, within_s=PUBLISH_WITHIN_S)
    except Refused as error:
        log.get().warning("submission_not_copied", job_id=job_id, error=repr(error))
    else:
        log.get().warning("submission_copied_into_log", job_id=job_id)


async def _restore_ending_or_requeue(job_log: JobLog, records: Records, job_id: str) -> None:
    """Put a lost job's ending into the log if there is a record of it, and otherwise the job into the queue.

    Asks the broker's leader first: the replica that was read before may have been stale, and the job not lost. A job
    that cannot be brought back now, for want of room or of a store that answers, is logged and left to the next
    clean-up. Raises `Unavailable`.
    """
    if await job_log.queue.find(job_id) is not None or await job_log.stored_ending(job_id) is not None:
        return
    if await job_log.tombstones.find(job_id) is not None:
        return
    submitted = await job_log.stored_submission(job_id)
    with tracing.joined(None if submitted is None else submitted.traceparent):
        try:
            ended = await records.restore_ending(job_id)
            if not ended and submitted is not None:
                await job_log.queue.requeue(job_id, submitted.data, within_s=PUBLISH_WITHIN_S)
        except (Refused, OSError) as error:  # the queue has no room yet, or the record cannot be read
            log.get().warning("lost_job_left", job_id=job_id, error=repr(error))
        else:
            log.get().warning("lost_job_brought_back", job_id=job_id, ended=ended)
