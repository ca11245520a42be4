"""Reconcile the queue with the log after a crash or a damaged disk. `__main__` calls `reconcile` in every clean-up.

Three gaps are possible, and each is closed:
- A job is in the queue but not in the log: the broker died between the two. Its submission is copied into the log.
- A job's ending is in the log but the job still in the queue: the acknowledgement was lost. The job is taken out.
- A job of the log has no ending and is not in the queue: the broker lost a damaged block of its disk. The job's ending
  comes back from its record, or the job goes back into the queue.
"""

from contextlib import suppress

from contracts import subjects
from contracts.broker.bus import Bus, Refused, Stored, SubjectFull
from contracts.job import is_job_id
from contracts.job_log import JobLog
from contracts.process import log
from services.state.records import Records

PUBLISH_WITHIN_S = 5.0


async def reconcile(broker: Bus, records: Records) -> set[str]:
    """Close the gaps, and return the ids of the unfinished jobs. Idempotent, and safe beside another instance.

    The order of the reads makes the comparison true: a job is in the queue before it is in the log, and leaves the
    queue after its ending is in the log.
    """
    submissions = await broker.subjects(subjects.EVENTS_STREAM, subjects.ALL_SUBMISSIONS)
    logged = {subjects.job_id_of(subject) for subject in submissions}
    queue = {subjects.job_id_of(job.subject): job for job in await broker.read(subjects.JOBS_STREAM, subjects.ALL_JOBS)}
    endings = await broker.read(subjects.EVENTS_STREAM, subjects.ALL_ENDINGS)
    ended = {subjects.job_id_of(ending.subject) for ending in endings}
    for job_id in queue.keys() & ended:
        await broker.delete(subjects.JOBS_STREAM, queue[job_id].sequence)
        log.get().warning("ended_job_taken_from_queue", job_id=job_id)
    unfinished = queue.keys() - ended
    for job_id in unfinished - logged:
        await _copy(broker, queue[job_id], job_id)
    lost = {job_id for job_id in logged - ended - queue.keys() if is_job_id(job_id)}
    for job_id in lost:
        await _bring_back(broker, records, job_id)
    return unfinished | lost


async def _copy(broker: Bus, queued: Stored, job_id: str) -> None:
    """Copy a job's submission from the queue into the log, as the broker should have done.

    The message id is that of the broker's own copy, so that the log drops the second of the two.
    """
    if await broker.last(subjects.EVENTS_STREAM, subjects.submission_of(job_id)) is not None:
        return  # the broker's copy arrived after the log was read
    await broker.publish(subjects.submission_of(job_id), queued.data, message_id=job_id, within_s=PUBLISH_WITHIN_S)
    log.get().warning("submission_copied_into_log", job_id=job_id)


async def _bring_back(broker: Bus, records: Records, job_id: str) -> None:
    """Put a lost job's ending into the log if there is a record of it, and otherwise the job into the queue.

    Asks the broker's leader first: the replica that was read before may have been stale.
    """
    job_log = JobLog(broker, publisher="state")
    if await job_log.queued(job_id) is not None or await job_log.stored_ending(job_id) is not None:
        return
    try:
        ended = await records.bring_back(job_id)
        if not ended:
            await _queue_again(broker, job_id)
    except (Refused, OSError) as error:  # the queue has no room yet, or the record cannot be read
        log.get().warning("lost_job_left", job_id=job_id, error=repr(error))
    else:
        log.get().warning("lost_job_brought_back", job_id=job_id, ended=ended)


async def _queue_again(broker: Bus, job_id: str) -> None:
    """Publish a lost job again, in a lane for such jobs, because a damaged message still occupies its subject.

    The first try has the job's own message id, so that the log drops the copy as a duplicate. For two minutes after a
    submission the queue remembers that id too, although it has lost the message, and drops this one as well; then the
    second try has no id. The lane holds at most one message a subject, so that the job is never in it twice.
    """
    submitted = await broker.last(subjects.EVENTS_STREAM, subjects.submission_of(job_id))
    if submitted is None:
        return
    subject = subjects.job(job_id, subjects.LANE_OF_THE_LOST)
    with suppress(SubjectFull):  # another instance, or an earlier try whose answer was lost, has published the job
        for message_id in (job_id, None):
            published = await broker.publish(subject, submitted.data, message_id=message_id, within_s=PUBLISH_WITHIN_S)
            if not published.duplicate:
                return
