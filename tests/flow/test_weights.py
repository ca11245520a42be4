"""Weights that are replaced under an unfinished job, in a checkpoint of the same name: the video is of the new ones."""

import asyncio
import hashlib
from collections.abc import Generator
from pathlib import Path

import aiohttp
import pytest
from safetensors.torch import load_file, save_file

from contracts.broker import Bus
from contracts.job import video_name
from inference.pocket.build import build
from tests.flow.faults import ACK_WAIT_S, WITHIN_S, faulty, groups_started_again
from tests.flow.faulty_rank import Fault
from tests.flow.test_resume import digest, events, starts
from tests.kit.road import MODEL, Road
from tests.kit.waiting import eventually

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def road(tmp_path: Path) -> Generator[Road, None, None]:
    """A road whose cluster has the faults that jobs ask for, under weights that can be replaced by others."""
    road = Road(tmp_path)
    build(tmp_path / "other", MODEL)
    fine_tune(tmp_path / "other")
    road.cluster = faulty(road, CHECKPOINT_INTERVAL="0")
    with road.running(ACK_WAIT=str(ACK_WAIT_S)):
        yield road


def fine_tune(folder: Path) -> None:
    """Change every value of the transformer a little: the headers, and the card beside it, stay what they were."""
    for file in (folder / "transformer").glob("*.safetensors"):
        save_file({name: tensor * 1.02 for name, tensor in load_file(file).items()}, file, {"format": "pt"})


async def dead(road: Road) -> None:
    """The ranks have died, and the cluster with them, before another group of it has loaded the model."""
    await eventually(lambda: groups_started_again(road.cluster) > 0, within_s=WITHIN_S)
    road.cluster.kill()


async def with_other_weights(road: Road) -> None:
    """The checkpoint's folder becomes another one, and a cluster without faults starts on it."""
    (road.folder / "tiny").rename(road.folder / "before")
    (road.folder / "other").rename(road.folder / "tiny")
    await road.replace_cluster()


async def video_of_the_weights_there(road: Road, client: aiohttp.ClientSession, link: Bus, seed: int) -> str:
    """The digest of the video that a job gets which nobody disturbs."""
    job_id = await road.submit(client, seed=seed)
    assert (await road.ended(client, job_id, within_s=WITHIN_S))["attempt"] == 1
    return digest(await events(link, job_id))


async def test_a_job_killed_half_way_begins_anew_under_other_weights(
    road: Road, client: aiohttp.ClientSession, link: Bus
) -> None:
    job_id = await road.submit(client, seed=Fault.DIES_ONCE)
    await dead(road)
    assert list((road.folder / "scratch").glob("checkpoints/*"))
    await with_other_weights(road)
    assert (await road.ended(client, job_id, within_s=WITHIN_S))["status"] == "Succeed"
    log = await events(link, job_id)
    assert [start.resumed_from_step for start in starts(log)] == [0, 0]
    assert {line["why"] for line in road.cluster.lines if line.get("event") == "checkpoint_unusable"} == {"foreign"}
    assert digest(log) == await video_of_the_weights_there(road, client, link, Fault.DIES_ONCE)


async def test_a_video_that_other_weights_made_is_not_adopted(
    road: Road, client: aiohttp.ClientSession, link: Bus
) -> None:
    job_id = await road.submit(client, seed=Fault.DIES_BEFORE_ENDING)
    await dead(road)
    left = hashlib.sha256((road.videos / video_name(job_id)).read_bytes()).hexdigest()
    await with_other_weights(road)
    assert (await road.ended(client, job_id, within_s=WITHIN_S))["status"] == "Succeed"
    log = await events(link, job_id)
    assert digest(log) == await video_of_the_weights_there(road, client, link, Fault.DIES_BEFORE_ENDING)
    assert digest(log) != left
    served = await asyncio.to_thread((road.videos / video_name(job_id)).read_bytes)
    assert hashlib.sha256(served).hexdigest() == digest(log)


async def test_a_video_that_the_same_weights_made_is_adopted_under_another_name(
    road: Road, client: aiohttp.ClientSession, link: Bus
) -> None:
    job_id = await road.submit(client, seed=Fault.DIES_BEFORE_ENDING)
    await dead(road)
    left = hashlib.sha256((road.videos / video_name(job_id)).read_bytes()).hexdigest()
    (road.folder / "tiny").rename(road.folder / "moved")
    await road.replace_cluster(MODEL_CKPT_DIR=str(road.folder / "moved"))
    assert (await road.ended(client, job_id, within_s=WITHIN_S))["status"] == "Succeed"
    assert digest(await events(link, job_id)) == left
    assert "video_adopted" in road.cluster.text
