"""What becomes of a job whose time is over: one that no cluster understands, and one that takes too long."""

import time
from collections.abc import Generator

import aiohttp
import pytest

from contracts import subjects, wire
from contracts.broker import Bus
from contracts.events import JobSubmitted
from contracts.job import Job
from tests.flow.faults import SLOW, faulty, slow
from tests.kit.builders import ID
from tests.kit.road import Road
from tests.kit.waiting import eventually

TASK_TIMEOUT_S = 10
"""Enough for a job of 20 steps on a machine that is busy with other tests."""


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Generator[Road, None, None]:
    """A road whose cluster gives a job little time."""
    road = Road(tmp_path_factory.mktemp("timeout"))
    road.cluster = faulty(road, TASK_TIMEOUT=str(TASK_TIMEOUT_S))
    with road.running(MAX_CONCURRENT_TASKS="25"):
        yield road


async def test_a_job_of_a_newer_version_is_left_to_a_newer_cluster_and_fails_only_after_its_time(
    road: Road, client: aiohttp.ClientSession, link: Bus
) -> None:
    known = wire.encode(
        JobSubmitted(job_id=ID, created_at=time.time(), job=Job(prompt="a boat at sea", num_frames=25, seed=1))
    )
    newer = {
        ID: known.replace(b'"seed":1', b'"seed":1,"camera_path":"orbit"'),
        "f" * 32: known.replace(b'"unipc"', b'"a_newer_solver"').replace(ID.encode(), b"f" * 32),
        "e" * 32: known.replace(b'"num_frames":25', b'"num_frames":1000000000000000000').replace(
            ID.encode(), b"e" * 32
        ),
        "d" * 32: known.replace(b'"seed":1', b'"seed":-1').replace(ID.encode(), b"d" * 32),
    }
    for job_id, payload in newer.items():
        await link.publish(subjects.job(job_id), payload, message_id=job_id, within_s=5)
        await eventually(lambda job_id=job_id: link.last(subjects.EVENTS_STREAM, subjects.declined(job_id)))
        status = await road.status(client, job_id)
        assert (status["status"], status["attempt"], status["reason"]) == ("InQueue", 0, None)
    assert (await road.ended(client, await road.submit(client)))["status"] == "Succeed"
    for job_id, payload in newer.items():
        ended = await road.ended(client, job_id)
        assert ended["status"] == "Failed"
        assert ended["reason"].startswith("no cluster knows what the job asks for")
        declined = await link.last(subjects.EVENTS_STREAM, subjects.declined(job_id))
        ending = await link.last(subjects.EVENTS_STREAM, subjects.endings_of(job_id))
        assert declined is not None and ending is not None
        assert ending.at - declined.at >= TASK_TIMEOUT_S
        copy = await link.last(subjects.EVENTS_STREAM, subjects.submission_of(job_id))
        assert copy is not None and copy.data == payload


async def test_a_job_that_outlasts_its_time_fails_and_the_next_one_runs(
    road: Road, client: aiohttp.ClientSession
) -> None:
    with slow(road):
        long, short = await road.submit(client, **{**SLOW, "infer_steps": 60}), await road.submit(client)
        failed = await road.ended(client, long)
    assert (failed["status"], failed["reason"]) == (
        "Failed",
        f"it ran longer than the {TASK_TIMEOUT_S} s that a job may",
    )
    assert (await road.ended(client, short))["status"] == "Succeed"
    assert road.cluster.alive
