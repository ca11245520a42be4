"""Keeps a record of every ended job beside the videos, for when the broker loses what it knew. Decides nothing.

Rank 0 writes that of a video itself, before the ending; the others are written here, and what is missing. What the log
has lost comes back from them.
"""

import asyncio
import math
import time
from collections.abc import Sequence
from contextlib import suppress

from contracts import log, subjects, wire
from contracts.blobs import Store
from contracts.bus import Bus
from contracts.events import Ending, JobSubmitted, JobSucceeded
from contracts.job import is_job_id, job_id_in
from contracts.record import WITHOUT_VIDEO, Record, record_name, video_record_name
from contracts.restore import record_files, restore

KEEP_WITHIN_S = 1.0  # the statuses wait for it
RESTORED_SHARE = 0.9


class Records:
    def __init__(self, broker: Bus, videos: Store) -> None:
        self._broker, self._videos = broker, videos

    async def keep(self, ending: Ending) -> None:
        """Write the record of a job without a video. Where the store fails or is slow, `complete` does it later."""
        if isinstance(ending, JobSucceeded) or not is_job_id(ending.job_id):
            return
        try:
            async with asyncio.timeout(KEEP_WITHIN_S):
                await self._write(ending)
        except OSError as error:
            log.get().warning("record_put_off", job_id=ending.job_id, error=repr(error))

    async def complete(self, unfinished: set[str], *, settled_s: float) -> None:
        """Write every record that an ending in the log should have, and publish every ending that the log has lost.

        It loses one where its broker had a damaged disk, or has a new one. Younger than `settled_s` a record may be of
        a job that is only about to end; nearly as old as the log, of one that it forgets, which it also does where it
        is nearly full. Raises `OSError` or `Unavailable`.
        """
        files = await record_files(self._videos)
        endings = [
            wire.ending_in(stored)
            for stored in await self._broker.read(subjects.EVENTS_STREAM, subjects.ALL_ENDINGS)
            if is_job_id(subjects.job_id_of(stored.subject))
        ]
        await self._fill(endings, {file.name for file in files})
        log_so_far = await self._broker.stream(subjects.EVENTS_STREAM)
        bytes_max = log_so_far.config.max_bytes or 0
        if 0 < RESTORED_SHARE * bytes_max < log_so_far.state.bytes:  # -1 or 0 for no limit
            return  # whatever came back would push out what is younger
        log_s = log_so_far.config.max_age or math.inf
        known = unfinished | {ending.job_id for ending in endings}
        for file in files:
            age_s = time.time() - file.modified_at
            job_id = job_id_in(file.name)
            lost = job_id not in known and settled_s <= age_s < RESTORED_SHARE * log_s
            if lost and await self.bring_back(job_id, within_s=RESTORED_SHARE * log_s):
                log.get().warning("lost_ending_brought_back", job_id=job_id)

    async def _fill(self, endings: Sequence[Ending], there: set[str]) -> None:
        for ending in endings:
            if record_name(ending) not in there:
                await self._write(ending)

    async def bring_back(self, job_id: str, *, within_s: float = math.inf) -> bool:
        """Publish an ended job's submission and ending again, where the log has not got them.

        False without a record of it, or where that is of an ending longer ago than that or of another job: under an
        idempotency key that is used again, two have one id. Raises `OSError` or `Unavailable`.
        """
        record = await self._record(job_id)
        if record is None or record.ending.at + within_s < time.time():
            return False
        if record.submitted is not None and await self._submission(job_id) not in (None, record.submitted):
            return False
        await restore(self._broker, record)
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

    async def _write(self, ending: Ending) -> None:
        submitted = await self._submission(ending.job_id)
        await self._videos.write(record_name(ending), wire.encode_record(Record(submitted=submitted, ending=ending)))

    async def _submission(self, job_id: str) -> JobSubmitted | None:
        stored = await self._broker.last(subjects.EVENTS_STREAM, subjects.submission_of(job_id))
        try:
            return None if stored is None else wire.decode_submission(stored.data)
        except wire.Undecodable:
            return None
