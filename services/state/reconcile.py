"""Mends what a crash or a damaged disk tore apart between queue and log. Decides nothing: it finishes what was begun.

Three gaps are possible. The broker does neither of two pairs in one step: an accepted job whose copy never reached the
log, and a job whose ending is in the log and which is still in the queue. And a broker that finds a block of its disk
damaged goes on without what lay behind the damage: a job of the log that has no ending and is not in the queue.
"""

from contextlib import suppress

from contracts import subjects
from contracts.broker import Bus, Refused, Stored, SubjectFull
from contracts.job import is_job_id
from contracts.job_log import JobLog
from contracts.process import log
from services.state.records import Records

PUBLISH_WITHIN_S = 5.0


async def reconcile(broker: Bus, records: Records) -> set[str]:
    """Close the gaps, and return the ids of the jobs that are unfinished. Safe to run twice, or at the same time.

    The order of the reads is what makes it true: a job is in the queue before the log, and leaves it after its ending
    is in the log.
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
    """What the broker was to do: with the same message id, should its own copy still be on the way."""
    if await broker.last(subjects.EVENTS_STREAM, subjects.submission_of(job_id)) is not None:
        return  # it came after the log was read
    await broker.publish(subjects.submission_of(job_id), queued.data, message_id=job_id, within_s=PUBLISH_WITHIN_S)
    log.get().warning("submission_copied_into_log", job_id=job_id)


async def _bring_back(broker: Bus, records: Records, job_id: str) -> None:
    """Put its ending into the log, if a record knows one; else the job into the queue.

    Asks the leader first: with replicas, what was read before may have been stale.
    """
    job_log = JobLog(broker, publisher="state")
    if await job_log.queued(job_id) is not None or await job_log.stored_ending(job_id) is not None:
        return
    try:
        ended = await records.bring_back(job_id)
        if not ended:
            await _queue_again(broker, job_id)
    except (Refused, OSError) as error:  # no room yet, or the record cannot be read
        log.get().warning("lost_job_left", job_id=job_id, error=repr(error))
    else:
        log.get().warning("lost_job_brought_back", job_id=job_id, ended=ended)


async def _queue_again(broker: Bus, job_id: str) -> None:
    """Publish the job in a lane of its own, since a damaged message keeps its subject.

    Under the job's own message id, by which the log knows the copy for a repeat. For two minutes after a submission the
    queue remembers that id too, of the message that it has lost, and drops this one: then without an id. That a lane
    holds one message of a subject at most keeps the job from being doubled.
    """
    submitted = await broker.last(subjects.EVENTS_STREAM, subjects.submission_of(job_id))
    if submitted is None:
        return
    subject = subjects.job(job_id, subjects.LANE_OF_THE_LOST)
    with suppress(SubjectFull):  # by another instance, or by a try of ours whose answer was lost
        for message_id in (job_id, None):
            published = await broker.publish(subject, submitted.data, message_id=message_id, within_s=PUBLISH_WITHIN_S)
            if not published.duplicate:
                return
