"""The cluster's heartbeat: how it comes, how it goes, and how long it takes to go."""

import asyncio

import pytest

from contracts import subjects, wire
from contracts.broker import Bus
from contracts.stage_times import STAGES
from inference.leader.attempt import Attempt
from inference.leader.heartbeat import REMOVED_WITHIN_S, publish_heartbeats, with_load
from inference.leader.pace import Pace
from tests.inference.leader.scripted import CLUSTER, RankZero
from tests.kit.broker import Broker
from tests.kit.builders import ID
from tests.kit.waiting import eventually

ENDS_WITHIN_S = 2 * REMOVED_WITHIN_S
"""The heartbeat that is being tried, and the removal. A request would otherwise be tried for 12 s."""


async def test_a_cluster_that_ends_is_listed_no_longer(link: Bus) -> None:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(publish_heartbeats(link, CLUSTER, list, Pace(), stop))
        await eventually(lambda: _listed(link))
        stop.set()
    assert not await _listed(link)


async def test_the_end_of_a_cluster_does_not_wait_for_a_broker_that_is_away(broker: Broker, link: Bus) -> None:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(publish_heartbeats(link, CLUSTER, list, Pace(), stop))
        await eventually(lambda: _listed(link))
        broker.kill()
        stop.set()
        asked_at = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - asked_at < 2 * ENDS_WITHIN_S


async def _listed(link: Bus) -> bool:
    """Return whether the bucket has a status of any cluster."""
    return bool(await link.values(subjects.CLUSTERS_BUCKET))


async def test_a_heartbeat_says_how_long_the_jobs_in_hand_take_one_behind_the_other(rank_zero: RankZero) -> None:
    pace = Pace()
    first = await rank_zero.attempt(pace)
    for stage, seconds in zip(STAGES, (1.0, 6.0, 2.0, 1.0), strict=True):
        pace.record_stage_time(stage, first.job, 64 * 48 * 25, seconds)
    second = Attempt(first.delivery, first.prepared, pace)
    first.begin()
    beat = with_load(CLUSTER, [first, second], pace)
    assert beat.current_jobs == [ID, ID]
    assert beat.jobs_left_s == pytest.approx([10.0, 19.0], abs=0.5)
    assert beat.free_in_s == pytest.approx(18.0, abs=0.5)
    first.ranks_done.set()
    assert with_load(CLUSTER, [first, second], pace).free_in_s == pytest.approx(9.0, abs=0.5)
    assert wire.decode_cluster(wire.encode(beat)) == beat


async def test_a_heartbeat_says_nothing_of_what_was_not_measured(rank_zero: RankZero) -> None:
    beat = with_load(CLUSTER, [await rank_zero.attempt()], Pace())
    assert (beat.jobs_left_s, beat.free_in_s, beat.paces) == ([None], None, [])
    assert with_load(CLUSTER, [], Pace()).free_in_s == 0.0
