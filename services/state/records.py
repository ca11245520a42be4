"""Keeps a record of every ended job beside the videos, for when the broker's disk is lost. Decides nothing.

Rank 0 writes that of a video itself, before the ending; the others are written here, and what is missing.
"""

import asyncio
from contextlib import suppress

from contracts import log, subjects, wire
from contracts.blobs import Store
from contracts.bus import Bus
from contracts.events import Ending, JobSubmitted, JobSucceeded
from contracts.job import is_job_id
from contracts.record import WITHOUT_VIDEO, Record, record_name, video_record_name

KEEP_WITHIN_S = 1.0  # the statuses wait for it


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

    async def ending_of(self, job_id: str) -> Ending | None:
        """How a job ended, by its record. One without a video says more: rank 0 writes the other before the ending."""
        name = video_record_name(job_id)
        for each in (f"{WITHOUT_VIDEO}/{name}", name):
            content = await self._videos.read(each)
            with suppress(wire.Undecodable):
                if content is not None:
                    return wire.decode_record(content).ending
        return None

    async def _write(self, ending: Ending) -> None:
        submitted = await self._submission(ending.job_id)
        await self._videos.write(record_name(ending), wire.encode(Record(submitted=submitted, ending=ending)))

    async def _submission(self, job_id: str) -> JobSubmitted | None:
        stored = await self._broker.last(subjects.EVENTS_STREAM, subjects.submission_of(job_id))
        try:
            return None if stored is None else wire.decode_submission(stored.data)
        except wire.Undecodable:
            return None
