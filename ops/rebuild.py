"""Makes the log anew from the records beside the videos: `python -m ops.rebuild`, once a lost broker is provisioned.

Only what has ended can come back: a job that waited or ran is lost with the broker's disk. What the log has already
stays as it is, so that a second run does nothing. The statuses are the state service's doing, as ever.
"""

import asyncio
import sys

from msgspec import Struct

from contracts import blobs, env, log, wire
from contracts.blobs import Store
from contracts.bus import Bus
from contracts.restore import record_files, restore
from ops.broker import Settings as Broker
from ops.broker import connected


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
    for file in await record_files(videos):
        try:
            record = wire.decode_record(await videos.read(file.name) or b"")
        except wire.Undecodable as error:
            log.get().error("record_unreadable", name=file.name, error=str(error))
            unreadable.append(file.name)
            continue
        if await restore(broker, record):
            restored += 1
        else:
            known += 1
    return Rebuilt(restored, known, unreadable)


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
