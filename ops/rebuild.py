"""Makes the log anew from the records beside the videos: `python -m ops.rebuild`, once a lost broker is provisioned.

Only what has ended can come back: a job that waited or ran is lost with the broker's disk. What the log has already
stays as it is, so that a second run does nothing. The statuses are the state service's doing, as ever.
"""

import asyncio
import sys

from msgspec import Struct

from contracts import blobs, env, log, subjects, wire
from contracts.blobs import Store
from contracts.bus import Bus, Expect, WrongSequence
from contracts.events import Event
from contracts.record import WITHOUT_VIDEO, Record, is_record
from ops.broker import Settings as Broker
from ops.broker import connected

PUBLISH_WITHIN_S = 10.0


class Settings(Struct, frozen=True):
    nats_url: str = "nats://127.0.0.1:4222"
    nats_creds: str | None = None
    video_store_url: str = "generated_videos/"


class Rebuilt(Struct, frozen=True):
    """How many jobs were brought back, how many the log knew, and the records that cannot be read."""

    restored: int
    known: int
    unreadable: list[str]


async def rebuild(broker: Bus, videos: Store) -> Rebuilt:
    """Publish submission and ending of every recorded job that has no ending in the log."""
    restored, known = 0, 0
    unreadable: list[str] = []
    for name in await _names(videos):
        try:
            record = wire.decode_record(await videos.read(name) or b"")
        except wire.Undecodable as error:
            log.get().error("record_unreadable", name=name, error=str(error))
            unreadable.append(name)
            continue
        if await _restore(broker, record):
            restored += 1
        else:
            known += 1
    return Rebuilt(restored, known, unreadable)


async def _names(videos: Store) -> list[str]:
    """Oldest first, as the jobs ended."""
    files = [file for folder in ("", WITHOUT_VIDEO) for file in await videos.files(folder)]
    return [file.name for file in sorted(files, key=lambda file: file.modified_at) if is_record(file.name)]


async def _restore(broker: Bus, record: Record) -> bool:
    """The submission first, where it is known. False where the log has an ending already.

    Then nothing is published: a submission that outlives its ending in the log would look like a job that was lost.
    """
    if await broker.last(subjects.EVENTS_STREAM, subjects.endings_of(record.ending.job_id)) is not None:
        return False
    if record.submitted is not None:
        await _publish(broker, record.submitted, subjects.submission_of(record.ending.job_id))
    return await _publish(broker, record.ending, subjects.endings_of(record.ending.job_id))


async def _publish(broker: Bus, event: Event, unless: str) -> bool:
    """Straight into the log, unless there is one on such a subject."""
    try:
        await broker.publish(
            subjects.event(event),
            wire.encode(event),
            message_id=f"{subjects.message_id(event)}.rebuilt",
            expect=Expect(0, unless),
            within_s=PUBLISH_WITHIN_S,
        )
    except WrongSequence:
        return False
    return True


async def main() -> None:
    log.configure("rebuild")
    settings = env.read(Settings)
    async with connected(Broker(settings.nats_url, settings.nats_creds), name="rebuild") as broker:
        done = await rebuild(broker, blobs.store(settings.video_store_url))
    print(f"{done.restored} jobs restored, {done.known} were known; {len(done.unreadable)} records cannot be read")
    if done.unreadable:
        sys.exit("\n".join(["cannot be read:", *done.unreadable]))


if __name__ == "__main__":
    asyncio.run(main())
