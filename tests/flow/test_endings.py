"""Every accepted job ends exactly once, whatever is cancelled or full, and leaves nothing behind."""

import asyncio
import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from contracts import subjects
from contracts.broker import Bus
from contracts.job import input_name, video_name
from contracts.stores import Folder
from contracts.stores.last_check import CHECK_AGAIN_S
from services.edge.jobs import Jobs
from tests.flow.faults import WITHIN_S, at_stage, cancel, faulty, faulty_road, is_queued, log_of, slow
from tests.flow.faulty_rank import Fault
from tests.kit.edge import Edge
from tests.kit.process import Process
from tests.kit.road import LONG, RANKS, Road
from tests.kit.waiting import eventually
from tests.services.state.test_deletions import nothing_is_left

pytestmark = pytest.mark.timeout(600)

RACES = 8


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Generator[Road, None, None]:
    with faulty_road(tmp_path_factory.mktemp("endings")) as road:
        yield road


PLACES: list[tuple[str | None, dict[str, Any]]] = [
    (None, {}),
    ("encode", {"seed": Fault.SLOW_ENCODE}),
    ("denoise", {}),
    ("decode", {"seed": Fault.SLOW_DECODE, "infer_steps": 20}),
    ("store", {"seed": Fault.SLOW_STORE, "infer_steps": 20}),
]


@pytest.mark.parametrize(("stage", "fields"), PLACES, ids=["waiting", *(str(stage) for stage, _ in PLACES[1:])])
async def test_a_cancelled_job_has_one_ending_and_no_slot_and_no_file(
    road: Road, client: aiohttp.ClientSession, link: Bus, stage: str | None, fields: dict[str, Any]
) -> None:
    before = await road.submit(client, **LONG) if stage is None else None
    with slow(road):
        job_id = await road.submit(client, **{**LONG, **fields})
        if stage is not None:
            await at_stage(road, client, job_id, stage)
        answers = [await cancel(road, client, job_id) for _ in range(2)]
    assert answers == [(200, {"status": "Cancelled"})] * 2
    assert not await is_queued(link, job_id)
    assert (await road.status(client, job_id))["status"] == "Cancelled"
    if before is not None:
        await cancel(road, client, before)
    after = await road.submit(client)  # which runs once the ranks have left the other
    assert (await road.ended(client, after, within_s=WITHIN_S))["status"] == "Succeed"
    assert (await log_of(link, job_id)).count("finished.cancelled") == 1
    async with client.get(f"{road.edge.url}/videos/{job_id}.mp4") as answer:
        assert answer.status == 404
    await eventually(lambda: not list(road.videos.glob(f"**/{job_id}*.mp4")))
    assert await cancel(road, client, after) == (
        409,
        {"error": "ALREADY_FINISHED", "message": "the job has ended: Succeed", "status": "Succeed"},
    )


@pytest.mark.parametrize(("stage", "fields"), PLACES, ids=["waiting", *(str(stage) for stage, _ in PLACES[1:])])
async def test_a_deleted_job_stops_wherever_it_is_and_leaves_id_and_time(
    road: Road, client: aiohttp.ClientSession, link: Bus, stage: str | None, fields: dict[str, Any]
) -> None:
    before = await road.submit(client, **LONG) if stage is None else None
    jobs = Jobs(link, Folder(road.videos), Folder(road.edge.scratch), retention_s=1800)
    with slow(road):
        job_id = await road.submit(client, **{**LONG, **fields})
        if stage is not None:
            await at_stage(road, client, job_id, stage)
        await jobs.delete(job_id)
    assert not await is_queued(link, job_id)
    assert (await road.status(client, job_id))["error"] == "NOT_FOUND"
    if before is not None:
        await jobs.delete(before)
    after = await road.submit(client)  # which runs once the ranks have left the other
    assert (await road.ended(client, after, within_s=WITHIN_S))["status"] == "Succeed"
    await jobs.delete(after)
    await eventually(lambda: not list(road.videos.glob(f"**/{job_id}*")))
    for each in (job_id, after):
        await eventually(lambda each=each: nothing_is_left(link, each))
        assert [*road.videos.glob(f"**/{each}*"), *road.edge.scratch.glob(f"**/{each}*")] == []


async def test_a_cancel_holds_with_state_stopped_and_over_a_restart_of_the_broker(
    road: Road, client: aiohttp.ClientSession, link: Bus
) -> None:
    job_id = await road.submit(client, **LONG)
    await road.at_step(client, job_id, 1)
    road.state.kill()
    road.broker.kill()
    asking = asyncio.create_task(cancel(road, client, job_id))
    await eventually(lambda: not link.connected)
    road.broker.start()
    code, _ = await asking

    async def cancelled() -> bool:
        return code == 200 or await cancel(road, client, job_id) == (200, {"status": "Cancelled"})

    await eventually(cancelled)
    assert (await road.status(client, job_id))["status"] == "Cancelled"
    assert (await log_of(link, job_id)).count("finished.cancelled") == 1
    assert not await is_queued(link, job_id)
    road.start(road.state)
    after = await road.submit(client)
    assert (await road.ended(client, after, within_s=WITHIN_S))["status"] == "Succeed"


async def test_cancel_and_completion_race_to_one_ending(road: Road, client: aiohttp.ClientSession, link: Bus) -> None:
    heard: Counter[str] = Counter()

    async def on_ending(subject: str, _: bytes) -> None:
        heard[subjects.job_id_of(subject)] += 1

    await link.listen("video.live.*.finished.*", on_ending)
    for _ in range(RACES):
        job_id = await road.submit(client)
        await at_stage(road, client, job_id, random.choice(("denoise", "decode")))
        code, answer = await cancel(road, client, job_id)
        assert (code, answer["status"]) in ((200, "Cancelled"), (409, "Succeed"))
        assert (await road.status(client, job_id))["status"] == answer["status"]
        assert sum(kind.startswith("finished.") for kind in await log_of(link, job_id)) == 1
    await eventually(lambda: len(heard) == RACES)
    assert set(heard.values()) == {1}


async def test_a_stage_longer_than_the_broker_waits_is_one_attempt(
    road: Road, client: aiohttp.ClientSession, link: Bus
) -> None:
    job_id = await road.submit(client, seed=Fault.SLOW_DECODE)
    assert (await road.ended(client, job_id, within_s=WITHIN_S))["status"] == "Succeed"
    assert await log_of(link, job_id) == ["submitted", "started", "finished.succeeded"]


async def test_the_next_job_has_the_ranks_while_a_video_is_written_and_both_can_be_cancelled(
    road: Road, client: aiohttp.ClientSession, link: Bus
) -> None:
    first, second = await road.submit(client, seed=Fault.SLOW_STORE), await road.submit(client, **LONG)
    await road.at_step(client, second, 1)
    assert (await road.status(client, first))["stage"] == "store"

    async def both_are_in_hand() -> bool:
        async with client.get(f"{road.edge.url}/health") as answer:
            return [cluster["jobs_running"] for cluster in (await answer.json())["clusters"]] == [2]

    await eventually(both_are_in_hand)
    for job_id in (first, second):
        assert await cancel(road, client, job_id) == (200, {"status": "Cancelled"})
    after = await road.submit(client)
    assert (await road.ended(client, after, within_s=WITHIN_S))["status"] == "Succeed"
    for job_id in (first, second):
        assert (await log_of(link, job_id)) == ["submitted", "started", "finished.cancelled"]
        await eventually(lambda: not list(road.videos.glob(f"**/{job_id}*.mp4")))  # noqa: B023


async def restarted(road: Road, **variables: str) -> Process:
    """The state service with other settings, at work."""
    await asyncio.to_thread(road.state.stop)
    before = road.state.text.count("state_ready")
    state = Process(["-m", "services.state"], road.state.log, **{**road.variables, **variables})
    road.start(state)
    await eventually(lambda: state.text.count("state_ready") > before, within_s=WITHIN_S)
    return state


def filler(road: Road, n: int, *, age_s: float) -> Path:
    """A video of long ago."""
    path = road.videos / video_name(f"{n:032x}")
    with path.open("wb") as file:
        file.truncate(6_000_000)
    made_old(path, age_s)
    return path


def made_old(path: Path, age_s: float) -> None:
    at = time.time() - age_s
    os.utime(path, (at, at))


async def test_the_oldest_videos_make_room_and_running_and_young_ones_stay(
    road: Road, client: aiohttp.ClientSession, link: Bus
) -> None:
    async def code(job_id: str) -> int:
        async with client.get(f"{road.edge.url}/videos/{job_id}.mp4") as answer:
            return answer.status

    old, young = await road.submit(client), await road.submit(client)
    for job_id in (old, young):
        assert (await road.ended(client, job_id, within_s=WITHIN_S))["status"] == "Succeed"
    running = await road.submit(client, seed=Fault.SLOW_STORE)
    made_old(road.videos / video_name(old), 7200)
    older, newer = filler(road, 1, age_s=3600), filler(road, 2, age_s=1800)
    road.state = await restarted(road, MAX_OUTPUT_DIR_SIZE="0.01", CLEANUP_INTERVAL="1")

    async def removed() -> bool:
        return await code(old) == 410

    await eventually(removed, within_s=WITHIN_S)
    await eventually(lambda: not older.exists())
    status = await road.status(client, old)
    assert (status["status"], status["results"]["video_url"]) == ("Succeed", None)
    assert await code(young) == 200
    assert (await road.ended(client, running, within_s=WITHIN_S))["status"] == "Succeed"
    assert await code(running) == 200
    assert newer.exists()
    newer.unlink()
    await eventually(lambda: not (road.edge.scratch / input_name(old)).exists())
    for kept in (young, running):
        assert (road.edge.scratch / input_name(kept)).exists(), "a remix needs it"


async def test_statuses_expire_and_a_replay_does_not_bring_them_back(
    road: Road, client: aiohttp.ClientSession, link: Bus
) -> None:
    edge = Edge(road.folder, road.broker, TASK_RETENTION="3", TMPDIR=str(road.folder))
    road.start(edge)
    road.state = await restarted(road, TASK_RETENTION="3")
    await edge.ready(client)
    job_id = await road.submit(client)

    async def known(status: int) -> bool:
        stored = await link.get(subjects.STATUS_BUCKET, job_id)
        async with client.get(f"{edge.url}/video/status/{job_id}") as answer:
            return answer.status == status and (stored is None) == (status == 404)

    await eventually(lambda: known(200))
    await eventually(lambda: known(404), within_s=WITHIN_S)
    await asyncio.to_thread(road.run, "-m", "ops.replay")
    assert await known(404)
    assert (await log_of(link, job_id))[-1] == "finished.succeeded"
    await asyncio.to_thread(edge.stop)
    road.state = await restarted(road)


async def test_a_store_that_cannot_be_written_to_holds_jobs_up_and_heals(
    road: Road, client: aiohttp.ClientSession, link: Bus
) -> None:
    waiting = await road.submit(client, **LONG)
    await road.at_step(client, waiting, 1)
    second = await road.submit(client)
    drafts = road.videos / ".tmp"
    drafts.rmdir()
    drafts.touch()
    broken_at = time.monotonic()
    await eventually(lambda: time.monotonic() > broken_at + CHECK_AGAIN_S)  # what was found before holds no longer
    await cancel(road, client, waiting)
    await eventually(lambda: "jobs_wait_for_store" in road.cluster.text, within_s=WITHIN_S)
    waiting_for = next(line for line in road.cluster.lines if line["event"] == "jobs_wait_for_store")
    assert (waiting_for["store"], waiting_for["path"]) == ("VIDEO_STORE_URL", str(road.videos))
    assert "EEXIST" in waiting_for["error"]

    async def not_ready() -> bool:
        async with client.get(f"{road.edge.url}/readyz") as answer:
            return answer.status == 503

    await eventually(not_ready)  # what an edge has found is good for a second
    with pytest.raises(AssertionError, match="UNAVAILABLE"):
        await road.submit(client)
    assert (await road.status(client, second))["status"] == "InQueue"
    drafts.unlink()
    third = await road.submit(client)
    for job_id in (second, third):
        assert (await road.ended(client, job_id, within_s=WITHIN_S))["status"] == "Succeed"
    assert await log_of(link, second) == ["submitted", "started", "finished.succeeded"]


async def run(*command: str) -> int:
    return (await asyncio.to_thread(subprocess.run, command, check=False)).returncode


IN_A_SMALL_STORE = """
import os, sys
mount = f"mount -t tmpfs -o size=8k tmpfs '{os.environ['VIDEO_STORE_URL']}'"
command = [sys.executable, *sys.argv[1:]]
os.execvp("unshare", ["unshare", "-Urm", "sh", "-c", mount + ' && exec "$@"', "sh", *command])
"""


async def test_a_video_that_has_no_room_fails_its_job_and_the_next_fits_when_there_is_some(
    road: Road, client: aiohttp.ClientSession, link: Bus
) -> None:
    """The cluster, of torchrun itself, sees a store of 8 kB, a file system of its own."""
    if await run("unshare", "-Urm", "true") != 0:
        pytest.skip("this system lets nobody make a file system of their own")
    await asyncio.to_thread(road.cluster.stop)
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={RANKS}", "-m", "inference"]
    road.cluster = Process(
        ["-c", IN_A_SMALL_STORE, *torchrun], road.folder / "small.log", **road.variables, MIN_FREE_SPACE="0"
    )
    road.start(road.cluster)
    big = await road.submit(client, image_size="128*96")
    failed = await road.ended(client, big, within_s=WITHIN_S)
    assert (failed["status"], failed["reason"]) == ("Failed", "storage_full: there is no room for the video")
    inside = ["nsenter", "-t", str(road.cluster.pid), "-U", "-m", "--preserve-credentials"]
    assert await run(*inside, "mount", "-o", "remount,size=64m", str(road.videos)) == 0
    again = await road.submit(client, image_size="128*96")
    assert (await road.ended(client, again, within_s=WITHIN_S))["status"] == "Succeed"
    await asyncio.to_thread(road.cluster.stop)
    road.cluster = faulty(road)
    road.start(road.cluster)
