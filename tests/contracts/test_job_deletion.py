"""Burying a job on one broker; `tests/chaos/soak/test_fences.py` races deletions with endings on three."""

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from contracts import subjects, wire
from contracts.broker import Bus
from contracts.events import Ending, JobDeleted
from contracts.job_deletion import bury, is_deleted
from contracts.job_log import JobLog
from contracts.record import Record
from contracts.restore import restore
from contracts.stores import Folder
from ops.rebuild import Rebuilt, rebuild
from tests.kit.builders import ID, cancelled, deleted, failed, submitted, succeeded

RACES = 20


async def last_ending(link: Bus, job_id: str = ID) -> object:
    return await JobLog(link, "reader").ending(job_id)


@pytest.mark.parametrize("ending", [None, succeeded(1, 1.0), failed(1, 1.0), cancelled(1.0)])
async def test_a_deletion_is_stored_over_every_ending_and_no_ending_over_it(link: Bus, ending: Ending | None) -> None:
    edge = JobLog(link, "edge")
    if ending is not None:
        await edge.publish_ending(ending)
    assert not await is_deleted(edge, ID)
    await bury(edge, deleted(2.0))
    assert await last_ending(link) == deleted(2.0)
    assert await is_deleted(edge, ID)
    for late in (succeeded(1, 3.0), failed(1, 3.0), cancelled(3.0)):
        assert await JobLog(link, "rank").publish_ending(late) == deleted(2.0)
    endings = await link.read(subjects.EVENTS_STREAM, subjects.endings_of(ID))
    assert len(endings) == (1 if ending is None else 2)


async def test_an_ending_that_cannot_be_read_is_deleted_too_and_garbage_is_no_deletion(link: Bus) -> None:
    log = JobLog(link, "edge")
    for kind in ("expired", "deleted"):
        await link.publish(f"video.events.{ID}.finished.{kind}", b"{", within_s=2)
    assert not await is_deleted(log, ID)
    await bury(log, deleted(2.0))
    assert await last_ending(link) == deleted(2.0)


async def test_a_job_is_buried_once_whoever_does_it_again(link: Bus) -> None:
    logs = [JobLog(link, name) for name in ("edge", "other", "state")]
    await asyncio.gather(*(bury(log, deleted(float(n))) for n, log in enumerate(logs, start=1)))
    for log in logs:
        await bury(log, deleted(9.0))
    assert len(await link.read(subjects.EVENTS_STREAM, subjects.endings_of(ID))) == 1
    tombstone = await logs[0].tombstones.find(ID)
    assert tombstone is not None
    assert set(wire.tombstone_in(tombstone).__struct_fields__) == {"job_id", "at"}


async def test_of_an_ending_and_a_deletion_that_race_the_deletion_is_the_last(link: Bus) -> None:
    async def race(number: int) -> None:
        job_id = f"{number:032x}"
        edge, rank = JobLog(link, "edge"), JobLog(link, "rank")
        ending = replace(succeeded(1, 1.0), job_id=job_id)
        await asyncio.gather(bury(edge, JobDeleted(job_id=job_id, at=2.0)), rank.publish_ending(ending))
        assert isinstance(await last_ending(link, job_id), JobDeleted)

    await asyncio.gather(*map(race, range(RACES)))


async def test_a_record_brings_no_deleted_job_back_however_long_ago_the_log_has_forgotten_it(
    link: Bus, tmp_path: Path
) -> None:
    log, videos = JobLog(link, "rebuild"), Folder(tmp_path)
    record = Record(submitted=submitted(), ending=succeeded(1, 1.0))
    await bury(log, deleted(2.0))
    await link.admin.purge_stream(subjects.EVENTS_STREAM)
    assert await is_deleted(log, ID)
    assert not await restore(log, record)
    await videos.write(f"{ID}.json", wire.encode_record(record))
    assert await rebuild(link, videos) == Rebuilt(restored=0, known=1, unreadable=[])
    assert await link.read(subjects.EVENTS_STREAM, subjects.ALL_EVENTS) == []
