"""Keeps a record of every ended job beside the videos, for when the broker loses what it knew. Decides nothing.

Rank 0 writes that of a video itself, before the ending; the others are written here, and what is missing. What the log
has lost comes back from them.
"""

import asyncio
import math
import time
from contextlib import suppress

from contracts import log, subjects, wire
from contracts.blobs import Store
from contracts.bus import Bus, Expect, WrongSequence
from contracts.events import Ending, Event, JobSubmitted, JobSucceeded
from contracts.job import is_job_id, job_id_in
from contracts.record import WITHOUT_VIDEO, Record, is_record, record_name, video_record_name

KEEP_WITHIN_S = 1.0  # the statuses wait for it
PUBLISH_WITHIN_S = 5.0
RESTORED_SHARE = 0.9


class Records:
    def __init__(self, broker: Bus, videos: Store) -> None:
        self._broker, self._videos = broker, videos

    async def keep(self, ending: Ending) -> None:
        """Write the record of a job without a video. Where the store fails or is slow, `fill` does it later."""
        if isinstance(ending, JobSucceeded) or not is_job_id(ending.job_id):
            return
        try:
            async with asyncio.timeout(KEEP_WITHIN_S):
                await self._write(ending)
        except OSError as error:
            log.get().warning("record_put_off", job_id=ending.job_id, error=repr(error))

    async def fill(self) -> None:
        """Write every record that an ending in the log should have. Raises `OSError` or `Unavailable`."""
        there = {file.name for folder in ("", WITHOUT_VIDEO) for file in await self._videos.files(folder)}
        for stored in await self._broker.read(subjects.EVENTS_STREAM, subjects.ALL_ENDINGS):
            ending = wire.ending_in(stored)
            if is_job_id(ending.job_id) and record_name(ending) not in there:
                await self._write(ending)

    async def restore(self, unfinished: set[str], *, settled_s: float) -> None:
        """Publish every ending of the records that the log has lost: its broker had a damaged disk, or a new one.

        Younger than `settled_s` a record may be of a job that is only about to end; nearly as old as the log, of one
        that it forgets. Raises `OSError` or `Unavailable`.
        """
        log_s = (await self._broker.stream(subjects.EVENTS_STREAM)).config.max_age or math.inf
        files = [file for folder in (WITHOUT_VIDEO, "") for file in await self._videos.files(folder)]
        endings = await self._broker.read(subjects.EVENTS_STREAM, subjects.ALL_ENDINGS)
        known = unfinished | {subjects.job_id_of(ending.subject) for ending in endings}
        for file in files:
            age_s = time.time() - file.modified_at
            if is_record(file.name) and settled_s <= age_s < RESTORED_SHARE * log_s:
                job_id = job_id_in(file.name)
                if job_id not in known and await self.bring_back(job_id, within_s=RESTORED_SHARE * log_s):
                    log.get().warning("lost_ending_brought_back", job_id=job_id)

    async def bring_back(self, job_id: str, *, within_s: float = math.inf) -> bool:
        """Publish an ended job's submission and ending again, where the log has not got them.

        False without a record of it, or of an ending longer ago than that. Raises `OSError` or `Unavailable`.
        """
        record = await self._record(job_id)
        if record is None or record.ending.at + within_s < time.time():
            return False
        if record.submitted is not None:
            await self._publish(record.submitted, subjects.submission_of(job_id))
        await self._publish(record.ending, subjects.endings_of(job_id))
        return True

    async def _record(self, job_id: str) -> Record | None:
        """One without a video says more: rank 0 writes the other before the ending."""
        name = video_record_name(job_id)
        for each in (f"{WITHOUT_VIDEO}/{name}", name):
            content = await self._videos.read(each)
            with suppress(wire.Undecodable):
                if content is not None and (record := wire.decode_record(content)).ending.job_id == job_id:
                    return record
        return None

    async def _publish(self, event: Event, there: str) -> None:
        """Unless there is one. A damaged one that the broker counts, and can neither read nor delete, is none."""
        for expect in (Expect(0, there), None):
            try:
                await self._broker.publish(
                    subjects.event(event),
                    wire.encode(event),
                    message_id=f"{subjects.message_id(event)}.rebuilt",
                    expect=expect,
                    within_s=PUBLISH_WITHIN_S,
                )
            except WrongSequence:
                if await self._broker.last(subjects.EVENTS_STREAM, there) is not None:
                    return
            else:
                return

    async def _write(self, ending: Ending) -> None:
        submitted = await self._submission(ending.job_id)
        await self._videos.write(record_name(ending), wire.encode(Record(submitted=submitted, ending=ending)))

    async def _submission(self, job_id: str) -> JobSubmitted | None:
        stored = await self._broker.last(subjects.EVENTS_STREAM, subjects.submission_of(job_id))
        try:
            return None if stored is None else wire.decode_submission(stored.data)
        except wire.Undecodable:
            return None
