"""Restores the log from the records beside the videos after the broker lost its disk: `python -m ops.rebuild`.

Run it once the new broker is provisioned. Only ended jobs come back: a job that waited or ran is lost with the disk.
Events that the log has stay as they are, so a second run does nothing. The state service projects the statuses.
"""

import asyncio
import sys

from msgspec import Struct

from contracts.broker import Bus
from contracts.job import job_id_in
from contracts.job_log import JobLog
from contracts.process import env, start
from contracts.process.settings import StoreUrl
from contracts.restore import find_record, record_files, restore
from contracts.stores import Store, configured
from ops.broker import Settings as Broker
from ops.broker import connected


class Settings(Broker, frozen=True):
    """The broker, and the store that holds the records of jobs beside their videos."""

    video_store_url: StoreUrl = "generated_videos/"


class Rebuilt(Struct, frozen=True):
    """The result of a rebuild: jobs restored, jobs that the log knew already, and names of unreadable records."""

    restored: int
    known: int
    unreadable: list[str]


async def rebuild(broker: Bus, videos: Store) -> Rebuilt:
    """Publish submission and ending of every recorded job that has no ending in the log, each job once.

    Raises `OSError` if the store cannot be read, and `Unavailable` if the broker does not answer.
    """
    restored, known = 0, 0
    unreadable: list[str] = []
    job_log = JobLog(broker, publisher="rebuild")
    for job_id in dict.fromkeys(job_id_in(file.name) for file in await record_files(videos)):
        found = await find_record(videos, job_id)
        unreadable += found.unreadable
        if found.record is None:
            continue
        if await restore(job_log, found.record):
            restored += 1
        else:
            known += 1
    return Rebuilt(restored, known, unreadable)


def in_words(done: Rebuilt) -> str:
    """Return the result as a sentence, which mentions unreadable records only if there are any."""
    known = f"{_jobs(done.known)} already in the log"
    if done.restored:
        sentence = f"restored {done.restored} of {_jobs(done.restored + done.known)}"
        sentence += f"; {known}" if done.known else ""
    else:
        sentence = f"nothing to restore: {known if done.known else 'no record of a job was found'}"
    lost = len(done.unreadable)
    return f"{sentence}; {lost} {'record' if lost == 1 else 'records'} cannot be read" if lost else sentence


def _jobs(count: int) -> str:
    """Return a number of jobs in words: `1 job`, `2 jobs`."""
    return f"{count} {'job' if count == 1 else 'jobs'}"


async def main() -> None:
    """Rebuild the log and print the result. Ends the process with the names of records that cannot be read, if any."""
    start.configure_log("rebuild")
    settings = env.read(Settings)
    async with connected(settings, name="rebuild", user="state") as broker:
        done = await rebuild(broker, configured.video_store(settings.video_store_url))
    print(in_words(done))
    if done.unreadable:
        sys.exit("\n".join(["cannot be read:", *done.unreadable]))


if __name__ == "__main__":
    with start.refusing("rebuild"):
        asyncio.run(main())
