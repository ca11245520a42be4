"""Every accepted job ends exactly once, whatever fails, is killed or sleeps; ranks with faults built in."""

import asyncio
import os
import signal
from collections.abc import Generator
from typing import Any, NamedTuple

import aiohttp
import pytest

from contracts import subjects, wire
from contracts.broker import Bus
from contracts.events import JobReleased, JobStarted
from tests.flow.faults import SLOW, WITHIN_S, family, faulty, faulty_road, kept, log_of, ranks_of, slow
from tests.flow.faulty_rank import Fault
from tests.kit.road import Road
from tests.kit.waiting import eventually

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Generator[Road, None, None]:
    with faulty_road(tmp_path_factory.mktemp("crashes")) as road:
        yield road


async def test_a_rank_that_fails_where_all_agree_fails_the_job_and_nothing_else(
    road: Road, client: aiohttp.ClientSession, link: Bus
) -> None:
    ranks = ranks_of(road.cluster)
    job_id, after = await road.submit(client, seed=Fault.AT_BOUNDARY), await road.submit(client)
    failed = await road.ended(client, job_id, within_s=WITHIN_S)
    assert (failed["status"], failed["reason"]) == ("Failed", "the stage denoise failed with RuntimeError")
    assert (await road.ended(client, after, within_s=WITHIN_S))["status"] == "Succeed"
    assert ranks_of(road.cluster) == ranks


async def test_a_rank_that_fails_inside_a_collective_fails_the_job_and_the_group_comes_back(
    road: Road, client: aiohttp.ClientSession, link: Bus
) -> None:
    async with kept(road) as restarts:
        job_id, after = await road.submit(client, seed=Fault.IN_COLLECTIVE), await road.submit(client)
        failed = await road.ended(client, job_id, within_s=WITHIN_S)
        assert (failed["status"], failed["reason"]) == ("Failed", "the stage denoise failed with RuntimeError")
        assert (await road.ended(client, after, within_s=WITHIN_S))["status"] == "Succeed"
    assert len(restarts) == 1
    assert await log_of(link, job_id) == ["submitted", "started", "finished.failed"]


class Shortage(NamedTuple):
    fault: Fault
    fields: dict[str, Any]
    stage: str
    changes: str
    restart_count: int


SHORTAGES = [
    Shortage(Fault.NO_MEMORY_ENCODE, {"vae_parallel": False}, "encode", "t5_fsdp, dit_fsdp, vae_parallel, ", 0),
    Shortage(Fault.NO_MEMORY_DENOISE, {}, "denoise", "dit_fsdp, t5_fsdp, ", 0),
    Shortage(Fault.NO_MEMORY_DECODE, {}, "decode", "dit_fsdp, t5_fsdp, ", 0),
    Shortage(Fault.NO_MEMORY_STORE, {}, "store", "", 0),
    Shortage(Fault.NO_MEMORY_ENCODE_ON_ONE, {"vae_parallel": False}, "encode", "t5_fsdp, dit_fsdp, vae_parallel, ", 0),
    Shortage(Fault.NO_MEMORY_DENOISE_ON_ONE, {"dit_fsdp": True}, "denoise", "t5_fsdp, ", 1),
    Shortage(Fault.NO_MEMORY_DECODE_ON_ONE, {"vae_parallel": False}, "decode", "vae_parallel, dit_fsdp, t5_fsdp, ", 0),
]


@pytest.mark.parametrize("shortage", SHORTAGES, ids=lambda shortage: shortage.fault.name)
async def test_a_job_that_runs_out_of_memory_fails_with_what_would_help_and_the_next_one_runs(
    road: Road, client: aiohttp.ClientSession, shortage: Shortage
) -> None:
    """A limit on the process; the group is started again only where others wait for the rank inside a collective."""
    async with kept(road) as restarts:
        job_id = await road.submit(client, seed=shortage.fault, **shortage.fields)
        after = await road.submit(client)
        failed = await road.ended(client, job_id, within_s=WITHIN_S)
        needs_less = f"what needs less: {shortage.changes}a smaller image_size, fewer num_frames"
        assert failed["reason"] == f"the cluster ran out of memory at the stage {shortage.stage}; {needs_less}"
        assert (await road.ended(client, after, within_s=WITHIN_S))["status"] == "Succeed"
    assert len(restarts) == shortage.restart_count


async def test_a_job_that_kills_its_cluster_every_time_fails_and_others_go_on(
    road: Road, client: aiohttp.ClientSession, link: Bus
) -> None:
    async with kept(road):
        job_id, after = await road.submit(client, seed=Fault.DIES), await road.submit(client)
        failed = await road.ended(client, job_id, within_s=2 * WITHIN_S)
        assert (failed["status"], failed["reason"]) == ("Failed", "given up after 2 attempts")
        assert (await road.ended(client, after, within_s=WITHIN_S))["status"] == "Succeed"
    assert (await log_of(link, job_id)).count("started") == 2


async def test_a_finished_file_is_adopted_by_the_next_attempt(
    road: Road, client: aiohttp.ClientSession, link: Bus
) -> None:
    async with kept(road):
        job_id = await road.submit(client, seed=Fault.DIES_BEFORE_ENDING)
        assert (await road.ended(client, job_id, within_s=WITHIN_S))["status"] == "Succeed"
    log = await link.read(subjects.EVENTS_STREAM, subjects.events_of(job_id))
    kinds = [event.subject.split(".", 3)[3] for event in log]
    assert (kinds.count("started"), kinds.count("finished.succeeded")) == (2, 1)
    assert kinds.count("step") == 20, "it was generated twice"


async def test_a_sleeping_cluster_is_overtaken_and_says_nothing_and_a_stopped_one_hands_over_at_once(
    road: Road, client: aiohttp.ClientSession, link: Bus
) -> None:
    with slow(road):
        job_id = await road.submit(client, **SLOW)
        await road.at_step(client, job_id, 2)
        sleeping = family(road.cluster.pid)
        for pid in sleeping:
            os.kill(pid, signal.SIGSTOP)
    other = faulty(road, CLUSTER_NAME="other")
    road.start(other)
    ended = await road.ended(client, job_id, within_s=WITHIN_S)
    assert (ended["status"], ended["attempt"]) == ("Succeed", 2)
    video = (road.videos / f"{job_id}.mp4").stat()
    last = (await link.stream(subjects.EVENTS_STREAM)).state.last_seq
    for pid in sleeping:
        os.kill(pid, signal.SIGCONT)
    await eventually(lambda: "job_halted" in road.cluster.text, within_s=WITHIN_S)
    after = [await road.submit(client) for _ in range(2)]
    for each in after:
        assert (await road.ended(client, each, within_s=WITHIN_S))["status"] == "Succeed"
    late = await link.read(subjects.EVENTS_STREAM, subjects.events_of(job_id), after=last)
    assert [event.subject for event in late] == []
    assert (road.videos / f"{job_id}.mp4").stat() == video
    assert await road.status(client, job_id) == ended

    # Of the two, the one that is told to stop hands over.
    with slow(road):
        job_id = await road.submit(client, **SLOW)
        await road.at_step(client, job_id, 2)
        start = await link.last(subjects.EVENTS_STREAM, subjects.starts_of(job_id))
        beats = [wire.decode_cluster(beat) for beat in await link.values(subjects.CLUSTERS_BUCKET)]
        assert start is not None
        began = wire.decode_event(start.data)
        busy = next(beat.name for beat in beats if isinstance(began, JobStarted) and beat.instance == began.instance)
        first, second = (other, road.cluster) if busy == "other" else (road.cluster, other)
        await asyncio.to_thread(first.stop, signal.SIGHUP)  # as by SIGTERM
    assert (await road.ended(client, job_id, within_s=WITHIN_S))["status"] == "Succeed"
    assert await log_of(link, job_id) == ["submitted", "started", "released", "started", "finished.succeeded"]
    log = await link.read(subjects.EVENTS_STREAM, subjects.events_of(job_id))
    times = [event.data for event in log]
    assert handed_over_in_s(times) < 2
    if second is other:
        road.cluster = other


def handed_over_in_s(events: list[bytes]) -> float:
    """From the release to the next start."""
    seen = [wire.decode_event(event) for event in events]
    released = next(event.at for event in seen if isinstance(event, JobReleased))
    return max(event.at for event in seen if isinstance(event, JobStarted)) - released
