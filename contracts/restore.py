"""Restore lost endings: from the records beside the videos back into the log. State and `ops.rebuild` call it."""

from msgspec import Struct

from contracts import message_ids, subjects, wire
from contracts.broker import Expect
from contracts.events import Event
from contracts.job_log import JobLog
from contracts.process import log
from contracts.record import WITHOUT_VIDEO, Record, is_record, video_record_name
from contracts.stores import File, Store

PUBLISH_WITHIN_S = 5.0


class Found(Struct, frozen=True):
    """A job's record, None if it has no readable one, and the names of its unreadable records."""

    record: Record | None
    unreadable: list[str]


async def record_files(videos: Store) -> list[File]:
    """Return the files of all records, oldest first: in the order in which the jobs ended. Raises `OSError`."""
    files = [file for folder in ("", WITHOUT_VIDEO) for file in await videos.files(folder) if is_record(file.name)]
    return sorted(files, key=lambda file: file.modified_at)


async def find_record(videos: Store, job_id: str) -> Found:
    """Find the record that counts for a job, and log each that is unreadable. Raises `OSError`.

    A job may have two: rank 0 writes the record of a success before the ending, and the job may then have ended as
    cancelled or failed. So the record of a job without a video wins over the record beside a video. A record that
    speaks of another job does not count.
    """
    name = video_record_name(job_id)
    readable: list[Record] = []
    unreadable: list[str] = []
    for each in (f"{WITHOUT_VIDEO}/{name}", name):
        content = await videos.read(each)
        try:
            readable += [] if content is None else [wire.decode_record(content)]
        except wire.Undecodable as error:
            log.get().error("record_unreadable", name=each, error=str(error))
            unreadable.append(each)
    return Found(next((record for record in readable if record.ending.job_id == job_id), None), unreadable)


async def restore(job_log: JobLog, record: Record) -> bool:
    """Publish the ended job's submission, if it is known, and its ending, unless the log holds an ending.

    Nothing is published of a job that has a tombstone.

    Return whether the ending was stored. If the log holds an ending, the submission is not published either: it would
    outlive that ending in the log, and then look like a job that the queue has lost. Raises `Unavailable`, or `Refused`
    as `JobLog.append` does.
    """
    job_id = record.ending.job_id
    if await job_log.stored_ending(job_id) is not None or await job_log.tombstones.find(job_id) is not None:
        return False
    if record.submitted is not None:
        await _publish(job_log, record.submitted, subjects.submission_of(job_id))
    return await _publish(job_log, record.ending, subjects.endings_of(job_id))


async def _publish(job_log: JobLog, event: Event, there: str) -> bool:
    """Publish an event unless a message is on `there`, its subject or pattern. Return whether it was stored.

    The message id is that of a restored event, by which no webhook is sent for it again.
    """
    message_id = message_ids.restored(event)
    return await job_log.append(event, expect=Expect(0, there), within_s=PUBLISH_WITHIN_S, message_id=message_id)
