"""From the records beside the videos back into the log, for whoever finds that it has lost something."""

from contracts import subjects, wire
from contracts.blobs import File, Store
from contracts.bus import Bus, Expect, WrongSequence
from contracts.events import Event
from contracts.record import WITHOUT_VIDEO, Record, is_record

PUBLISH_WITHIN_S = 5.0


async def record_files(videos: Store) -> list[File]:
    """Of every job that has one, oldest first: as the jobs ended. Raises `OSError`."""
    files = [file for folder in ("", WITHOUT_VIDEO) for file in await videos.files(folder) if is_record(file.name)]
    return sorted(files, key=lambda file: file.modified_at)


async def restore(broker: Bus, record: Record) -> bool:
    """Publish the submission, where it is known, and the ending; nothing, and False, where the log has an ending.

    A submission that outlived its ending in the log would look like a job that was lost. Raises `Unavailable`.
    """
    job_id = record.ending.job_id
    if await broker.last(subjects.EVENTS_STREAM, subjects.endings_of(job_id)) is not None:
        return False
    if record.submitted is not None:
        await _publish(broker, record.submitted, subjects.submission_of(job_id))
    return await _publish(broker, record.ending, subjects.endings_of(job_id))


async def _publish(broker: Bus, event: Event, there: str) -> bool:
    """Unless there is one. A damaged one that the broker counts, and can neither read nor delete, is none."""
    for expect in (Expect(0, there), None):
        try:
            await broker.publish(
                subjects.event(event),
                wire.encode(event),
                message_id=f"{subjects.message_id(event)}.rebuilt",
                expect=expect,
                within_s=PUBLISH_WITHIN_S,
            )
        except WrongSequence:
            if await broker.last(subjects.EVENTS_STREAM, there) is not None:
                return False
        else:
            return True
    return False
