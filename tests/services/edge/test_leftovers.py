"""A refused submission leaves nothing in the stores, and takes nothing from an accepted one under the same key."""

import asyncio
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from PIL import Image

from contracts import subjects, wire
from contracts.broker import Bus
from contracts.job import input_name, video_name
from contracts.record import video_record_name
from contracts.status import JobStatus
from contracts.stores import Folder
from ops import provision
from services.edge.errors import NotFound
from services.edge.jobs import Jobs
from tests.kit.broker import Broker, provision_settings
from tests.kit.builders import ID, submitted, succeeded
from tests.kit.edge import PROMPT, Edge, picture, post, submit
from tests.services.edge.live.streams import life, publish

AT_ONCE = 8


async def submit_under(client: aiohttp.ClientSession, edge: Edge, key: str, **fields: Any) -> tuple[int, Any]:
    body = {"prompt": PROMPT, "image_url": picture(), "num_frames": 25, **fields}
    return await post(client, f"{edge.url}/video/submit", body, {"Idempotency-Key": key})


def inputs(edge: Edge) -> list[str]:
    return [f"inputs/{path.name}" for path in (edge.scratch / "inputs").glob("*")]


async def input_of(link: Bus, job_id: str) -> str:
    """The name of the input that an accepted job runs with."""
    stored = await link.last(subjects.JOBS_STREAM, subjects.job(job_id))
    assert stored is not None
    return input_name(job_id, wire.decode_submission(stored.data).input_tag)


@pytest.mark.parametrize("keyed", [False, True])
async def test_of_submissions_for_the_last_place_only_the_accepted_one_has_an_input(
    client: aiohttp.ClientSession, edge: Edge, broker: Broker, link: Bus, keyed: bool
) -> None:
    await provision.provision(link, provision_settings(broker, max_concurrent_tasks=1))

    async def one(number: int) -> tuple[int, Any]:
        return await (submit_under(client, edge, f"key {number}") if keyed else submit(client, edge))

    answers = await asyncio.gather(*(one(number) for number in range(AT_ONCE)))
    accepted = [body["requestId"] for code, body in answers if code == 202]
    assert len(accepted) == 1
    assert inputs(edge) == [await input_of(link, accepted[0])]


async def test_of_two_requests_under_one_key_at_once_the_accepted_one_runs_with_its_own_picture(
    client: aiohttp.ClientSession, edges: Callable[..., Edge], link: Bus
) -> None:
    pair = [edges(), edges()]
    for edge in pair:
        await edge.ready(client)
    colors = {"teal": (0, 128, 128), "maroon": (128, 0, 0)}
    for number in range(AT_ONCE):
        seeds = dict(enumerate(colors))
        answers = await asyncio.gather(
            *(
                submit_under(client, edge, f"key {number}", seed=seed, image_url=picture(color=seeds[seed]))
                for seed, edge in enumerate(pair)
            )
        )
        assert sorted(code for code, _ in answers) == [202, 422]
        job_id = next(body["requestId"] for code, body in answers if code == 202)
        stored = await link.last(subjects.JOBS_STREAM, subjects.job(job_id))
        assert stored is not None
        job = wire.decode_submission(stored.data).job
        assert inputs(pair[0]) == [await input_of(link, job_id)]
        png = await Folder(pair[0].scratch).read(await input_of(link, job_id))
        assert png is not None
        assert first_pixel(png) == colors[seeds[job.seed]]
        await post(client, f"{pair[0].url}/video/cancel", {"requestId": job_id})
        assert inputs(pair[0]) == []


def first_pixel(png: bytes) -> Any:
    return Image.open(io.BytesIO(png)).getpixel((0, 0))


async def test_a_cancelled_job_leaves_neither_video_nor_record(
    client: aiohttp.ClientSession, edge: Edge, link: Bus
) -> None:
    """Cancel a job whose cluster died between writing the video and publishing the ending."""
    job_id = (await submit(client, edge))[1]["requestId"]
    videos = Folder(edge.videos)
    for name in (video_name(job_id), video_record_name(job_id)):
        await videos.write(name, b"made already")
    assert (await post(client, f"{edge.url}/video/cancel", {"requestId": job_id}))[0] == 200
    assert await videos.files() == []


async def test_a_status_of_another_job_in_the_bucket_is_not_believed(
    client: aiohttp.ClientSession, edge: Edge, link: Bus
) -> None:
    job_id = (await submit(client, edge))[1]["requestId"]
    foreign = JobStatus(job_id="f" * 32, status="Succeed", progress=1.0)
    await link.put_last(subjects.STATUS_BUCKET, job_id, wire.encode(foreign))
    async with client.get(f"{edge.url}/video/status/{job_id}") as answer:
        body = await answer.json()
    assert (body["requestId"], body["status"]) == (job_id, "InQueue")


async def test_where_a_video_is_no_message_decides(client: aiohttp.ClientSession, edge: Edge, link: Bus) -> None:
    forged = wire.encode(succeeded(1, 1.0)).replace(f"generated_videos/{ID}.mp4".encode(), b"/etc/passwd")
    assert b"/etc/passwd" in forged
    await publish(link, life(ID)[:1])
    await link.publish(subjects.event(succeeded(1, 1.0)), forged, within_s=2)
    async with client.get(f"{edge.url}/video/status/{ID}") as answer:
        assert (await answer.json())["results"]["video_path"] == f"generated_videos/{ID}.mp4"


async def test_a_key_whose_submission_only_a_newer_version_can_read_is_answered_all_the_same(
    client: aiohttp.ClientSession, edge: Edge, link: Bus
) -> None:
    code, body = await submit_under(client, edge, "key")
    stored = await link.last(subjects.EVENTS_STREAM, subjects.submission_of(body["requestId"]))
    assert stored is not None
    newer = stored.data.replace(b'"unipc"', b'"a_newer_solver"')
    assert newer != stored.data
    await link.publish(stored.subject, newer, within_s=2)
    assert await submit_under(client, edge, "key") == (202, body)
    assert (await submit_under(client, edge, "key", seed=1))[0] == 422
    await link.publish(stored.subject, b"garbage", within_s=2)
    assert (await submit_under(client, edge, "key"))[0] == 422
    assert code == 202


async def test_a_job_that_has_just_ended_is_there_whatever_the_clock_of_the_edge_says(
    link: Bus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_time = time.time
    for event in (submitted(), succeeded(1, 1.0)):
        await link.publish(subjects.event(event), wire.encode(event), within_s=2)
    for off_by_s in (24 * 3600, -24 * 3600):
        monkeypatch.setattr(time, "time", lambda off_by_s=off_by_s: true_time() + off_by_s)
        jobs = Jobs(link, Folder(tmp_path), Folder(tmp_path), retention_s=60)
        assert (await jobs.status(ID)).status == "Succeed"
    with pytest.raises(NotFound):
        await Jobs(link, Folder(tmp_path), Folder(tmp_path), retention_s=-1).status(ID)
