"""A job whose cluster dies, stops or is cut off goes on where it was; its ranks keep a checkpoint of every step."""

import asyncio
import signal
from collections.abc import Generator

import aiohttp
import pytest

from contracts import subjects, wire
from contracts.broker import Bus
from contracts.events import AnyEvent, JobStarted, JobSucceeded, StepCompleted
from tests.flow.faults import ACK_WAIT_S, SLOW, WITHIN_S, faulty, kept, slow
from tests.flow.faulty_rank import LAST_STEP, Fault
from tests.kit.road import Road
from tests.kit.waiting import eventually

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Generator[Road, None, None]:
    road = Road(tmp_path_factory.mktemp("resume"))
    road.cluster = faulty(road, CHECKPOINT_INTERVAL="0")
    with road.running(ACK_WAIT=str(ACK_WAIT_S)):
        yield road


async def events(link: Bus, job_id: str) -> list[AnyEvent]:
    stored = await link.read(subjects.EVENTS_STREAM, subjects.events_of(job_id))
    return list(wire.readable_events(stored))


def starts(log: list[AnyEvent]) -> list[JobStarted]:
    return [event for event in log if isinstance(event, JobStarted)]


def digest(log: list[AnyEvent]) -> str:
    """Of the video."""
    return next(event.sha256 for event in log if isinstance(event, JobSucceeded))


async def test_a_job_whose_cluster_is_killed_goes_on_at_the_step_where_it_was(
    road: Road, client: aiohttp.ClientSession, link: Bus
) -> None:
    async with kept(road) as restarts:
        job_id = await road.submit(client, seed=Fault.DIES_ONCE)
        assert (await road.ended(client, job_id, within_s=WITHIN_S))["status"] == "Succeed"
    assert len(restarts) == 1
    log = await events(link, job_id)
    assert [start.resumed_from_step for start in starts(log)] == [0, LAST_STEP]
    again = [event for event in log if isinstance(event, StepCompleted) and event.attempt == 2]
    assert [event.step for event in again] == list(range(LAST_STEP + 1, 21))
    assert starts(log)[1].progress <= again[0].progress
    assert not list((road.folder / "scratch").glob("checkpoints/*"))

    uninterrupted = await road.submit(client, seed=Fault.DIES_ONCE)
    assert (await road.ended(client, uninterrupted, within_s=WITHIN_S))["attempt"] == 1
    assert digest(await events(link, uninterrupted)) == digest(log)


async def test_a_stopped_cluster_leaves_its_last_step_to_the_next_one(
    road: Road, client: aiohttp.ClientSession, link: Bus
) -> None:
    with slow(road):
        job_id = await road.submit(client, **SLOW)
        await road.at_step(client, job_id, 2)
        await asyncio.to_thread(road.cluster.stop)
    done = max(event.step for event in await events(link, job_id) if isinstance(event, StepCompleted))
    road.cluster.start()
    assert (await road.ended(client, job_id, within_s=WITHIN_S))["status"] == "Succeed"
    log = await events(link, job_id)
    assert [start.resumed_from_step for start in starts(log)] == [0, done]


async def test_a_cluster_that_is_cut_off_leaves_the_job_and_goes_on_with_it_later(
    road: Road, client: aiohttp.ClientSession, link: Bus
) -> None:
    with slow(road):
        job_id = await road.submit(client, **SLOW)
        await road.at_step(client, job_id, 2)
        before = road.cluster.text.count("job_left")
        road.broker.send(signal.SIGSTOP)
        try:
            await eventually(lambda: road.cluster.text.count("job_left") > before, within_s=10 * ACK_WAIT_S)
        finally:
            road.broker.send(signal.SIGCONT)
    assert (await road.ended(client, job_id, within_s=WITHIN_S))["status"] == "Succeed"
    log = await events(link, job_id)
    assert len(starts(log)) == 2
    assert starts(log)[1].resumed_from_step > 2
    assert sum(isinstance(event, JobSucceeded) for event in log) == 1
