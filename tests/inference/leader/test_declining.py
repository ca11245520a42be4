"""A job of a newer version, at a cluster that does not know all of it."""

import asyncio
import itertools
from pathlib import Path

import pytest

from contracts import subjects, wire
from contracts.broker import Bus, Delivery
from contracts.events import JobFailed
from contracts.job import input_name
from contracts.job_log import JobLog
from contracts.stores import Folder
from inference.leader.completion import JobCompleter
from inference.leader.job_checkpoints import JobCheckpoints
from tests.contracts.test_plan import cluster
from tests.kit.builders import ID, submitted

DELIVERED_WITHIN_S = 30.0
NEWER = wire.encode(submitted()).replace(b'"seed":7', b'"seed":7,"camera_path":"orbit"')


async def delivered(link: Bus) -> Delivery:
    async with asyncio.timeout(DELIVERED_WITHIN_S):
        while True:
            pulled = await link.pull(subjects.JOBS_STREAM, subjects.INFERENCE_DURABLE, stop=asyncio.Event())
            if pulled is not None:
                return pulled


def endings(link: Bus, folder: Path, instance: str) -> JobCompleter:
    store = Folder(folder)
    checkpoints, job_log = JobCheckpoints(store, "tiny"), JobLog(link, instance)
    return JobCompleter(job_log, videos=store, scratch=store, checkpoints=checkpoints, cluster=cluster(instance, 1))


async def test_a_declined_job_comes_to_whoever_asks_next(link: Bus, tmp_path: Path) -> None:
    await link.publish(subjects.job(ID), NEWER, within_s=2)
    older = endings(link, tmp_path, "older")
    await older.decline(await delivered(link), ID, "camera_path", patience_s=1)
    newer = await delivered(link)
    assert newer.data == NEWER
    assert await JobLog(link, "x").ending(ID) is None


async def test_a_declined_job_fails_once_its_time_has_passed_since_the_first_cluster_declined_it(
    link: Bus, tmp_path: Path
) -> None:
    await Folder(tmp_path).write(input_name(ID), b"a picture")
    await link.publish(subjects.job(ID), NEWER, within_s=2)
    log = JobLog(link, "x")
    turns = itertools.cycle(["one", "other"])
    while (ending := await log.stored_ending(ID)) is None:
        await endings(link, tmp_path, next(turns)).decline(await delivered(link), ID, "camera_path", patience_s=0.5)
    declined = await link.read(subjects.EVENTS_STREAM, subjects.declined(ID))
    assert len(declined) == 1
    assert ending.at - declined[0].at >= 0.5
    failed = wire.ending_in(ending)
    assert isinstance(failed, JobFailed)
    assert failed.reason == "no cluster knows what the job asks for (camera_path)"
    assert (await link.stream(subjects.JOBS_STREAM)).state.messages == 0
    assert not await Folder(tmp_path).exists(input_name(ID))


@pytest.mark.parametrize("payload", [b"{", b'{"type":"JobExpired","requestId":"' + ID.encode() + b'"}'])
async def test_an_ending_that_cannot_be_read_takes_the_job_from_the_queue_and_keeps_its_files(
    link: Bus, tmp_path: Path, payload: bytes
) -> None:
    await Folder(tmp_path).write(input_name(ID), b"a picture")
    await link.publish(subjects.job(ID), wire.encode(submitted()), within_s=2)
    await link.publish(f"video.events.{ID}.finished.expired", payload, within_s=2)
    ending = await JobLog(link, "x").ending(ID)
    assert ending is not None
    await endings(link, tmp_path, "one").acknowledge_and_clean_up(await delivered(link), ending)
    assert (await link.stream(subjects.JOBS_STREAM)).state.messages == 0
    assert await Folder(tmp_path).exists(input_name(ID))
