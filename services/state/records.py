"""Keep a record of every ended job beside the videos, and restore endings that the broker's log has lost from them.

Rank 0 writes the record of a video before it publishes the ending. Records of jobs without a video are written here:
`materialise` has one kept for each ending, and each clean-up completes the missing ones.
"""

import asyncio
import math
from collections.abc import Sequence

from contracts import subjects, wire
from contracts.broker import Refused
from contracts.events import AnyEnding, Ending, EndingUnknown, JobDeleted, JobSubmitted, JobSucceeded
from contracts.job import is_job_id, job_id_in
from contracts.job_deletion import is_deleted
from contracts.job_log import JobLog
from contracts.process import log
from contracts.record import Record, record_name
from contracts.restore import find_record, record_files, restore
from contracts.stores import Store

WRITE_WITHIN_S = 1.0  # the time by which a slow store delays statuses
RESTORED_SHARE = 0.9


class Records:
    """The records in one store of videos. One for the process.

    An ending that this version cannot read gets no record: the record would outlive the ending without its content.
    """

    def __init__(self, job_log: JobLog, videos: Store) -> None:
        self._log, self._videos = job_log, videos

    async def write_unless_video(self, ending: Ending) -> None:
        """Write the record of a job that ended without a video; do nothing for a success, whose record rank 0 wrote.

        If the store fails or is slower than `WRITE_WITHIN_S`, logs that: `repair` writes the record later. Raises
        `Unavailable`.
        """
        if isinstance(ending, JobSucceeded) or not is_job_id(ending.job_id):
            return
        try:
            async with asyncio.timeout(WRITE_WITHIN_S):
                await self._write(ending)
        except OSError as error:
            log.get().warning("record_put_off", job_id=ending.job_id, error=repr(error))

    async def repair(self, unfinished: set[str], *, settled_s: float) -> None:
        """Write each record that an ending in the log lacks, and publish each ending that the log has lost.

        A log loses an ending if the broker's disk was damaged or replaced. An ending is published again only if its
        record is older than `settled_s` (younger: the cluster may still be publishing it) and younger than
        `RESTORED_SHARE` of the log's `max_age` (older: the log is about to expire it). None is published while the log
        is fuller than `RESTORED_SHARE`: it would push out younger events. Raises `OSError` or `Unavailable`.
        """
        files = await record_files(self._videos)
        endings = [
            wire.ending_in(stored)
            for stored in await self._log.stored_endings()
            if is_job_id(subjects.job_id_of(stored.subject))
        ]
        await self._fill(endings, {file.name for file in files})
        log_so_far = await self._log.info()
        bytes_max = log_so_far.config.max_bytes or 0
        if 0 < RESTORED_SHARE * bytes_max < log_so_far.state.bytes:  # -1 or 0 for no limit
            return
        log_s = log_so_far.config.max_age or math.inf
        now = await self._videos.now()
        known = unfinished | {ending.job_id for ending in endings}
        for file in files:
            age_s = now - file.modified_at
            job_id = job_id_in(file.name)
            if job_id not in known and settled_s <= age_s < RESTORED_SHARE * log_s:
                await self._restore_lost(job_id, within_s=RESTORED_SHARE * log_s)

    async def _restore_lost(self, job_id: str, *, within_s: float) -> None:
        """Restore an ending as `restore_ending` does, and log it. An ending that the broker refuses stays lost."""
        try:
            if await self.restore_ending(job_id, within_s=within_s):
                log.get().warning("lost_ending_brought_back", job_id=job_id)
        except Refused as error:
            log.get().warning("lost_ending_left", job_id=job_id, error=repr(error))

    async def _fill(self, endings: Sequence[AnyEnding], written: set[str]) -> None:
        """Write the records of these endings, except those whose file names are in `written`, and of unreadable ones.

        Raises `OSError` or `Unavailable`.
        """
        for ending in endings:
            if isinstance(ending, EndingUnknown | JobDeleted) or record_name(ending) in written:
                continue
            if not await is_deleted(self._log, ending.job_id):
                await self._write(ending)

    async def restore_ending(self, job_id: str, *, within_s: float = math.inf) -> bool:
        """Publish an ended job's submission and ending again from its record, unless the log has an ending.

        Return True, also if the log has one. False if there is no readable record, if its ending is older than
        `within_s`, if the job is deleted, or if the record belongs to an earlier job with the same id (a reused
        idempotency key gives the same id).
        Raises `OSError`, `Unavailable` or `Refused`.
        """
        record = (await find_record(self._videos, job_id)).record
        if record is None or record.ending.at + within_s < await self._log.now():
            return False
        if await self._log.tombstones.find(job_id) is not None:
            return False
        if record.submitted is not None and await self._submission(job_id) not in (None, record.submitted):
            return False
        await restore(self._log, record)
        return True

    async def _write(self, ending: Ending) -> None:
        """Write the record of an ending unless it has one, with the job's submission if it can be read.

        Raises `OSError` or `Unavailable`.
        """
        submitted = await self._submission(ending.job_id)
        await self._videos.write(record_name(ending), wire.encode_record(Record(submitted=submitted, ending=ending)))

    async def _submission(self, job_id: str) -> JobSubmitted | None:
        """Return a job's submission in log or queue; None if there is none, or if this version cannot read it."""
        try:
            return await self._log.submission(job_id)
        except wire.Undecodable:
            return None
