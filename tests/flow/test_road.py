import asyncio
import base64
import hashlib
import time
from pathlib import Path
from typing import Any

import aiohttp
import av
from msgspec.structs import replace

from contracts import subjects, wire
from contracts.broker import Bus
from contracts.events import JobCancelled, JobStarted, JobSubmitted, JobSucceeded
from contracts.job import Job, input_name
from contracts.record import video_record_name
from contracts.stores import open_store
from services.edge.docs.openapi import document
from tests.kit import auth
from tests.kit.broker import all_folded
from tests.kit.edge import picture, post
from tests.kit.road import LONG, Road
from tests.kit.waiting import eventually

JOBS = 20


async def test_a_picture_and_a_prompt_become_a_video(road: Road, client: aiohttp.ClientSession) -> None:
    job_id = await road.submit(client, num_frames=24, image_url=picture(200, 100))
    seen: list[float] = []

    async def succeeded() -> bool:
        status = await road.status(client, job_id)
        assert status["status"] in ("InQueue", "InProgress", "Succeed"), status
        assert (status["progress"] == 1.0) == (status["status"] == "Succeed")
        seen.append(status["progress"])
        return status["status"] == "Succeed"

    await eventually(succeeded, within_s=60)
    assert seen == sorted(seen)
    results = (await road.status(client, job_id))["results"]
    assert results["video_path"] == f"generated_videos/{job_id}.mp4"
    async with client.get(road.edge.url + results["video_url"]) as answer:
        assert answer.status == 200
        video = road.folder / "downloaded.mp4"
        video.write_bytes(await answer.read())
    check_mp4(video, width=64, height=48, frames=25)
    assert (results["width"], results["height"], results["num_frames"]) == (64, 48, 25)
    assert results["size_bytes"] == video.stat().st_size


async def test_a_finished_job_is_answered_with_the_fields_of_the_documented_example(
    road: Road, client: aiohttp.ClientSession
) -> None:
    answers = document()["paths"]["/video/status/{id}"]["get"]["responses"]["200"]["content"]["application/json"]
    example = answers["examples"]["succeeded"]["value"]
    job_id = await road.submit(client, num_frames=24, image_url=picture(200, 100))
    came = await road.ended(client, job_id)
    assert kinds(came) == kinds(example)
    for name in ("status", "progress", "attempt", "stage", "step", "released_attempt", "sized_attempt"):
        assert came[name] == example[name], name
    for answer, of in ((came, job_id), (example, example["requestId"])):
        results = answer["results"]
        assert results["video_url"] == f"/videos/{of}.mp4"
        assert (results["width"], results["height"], results["cropped"]) == (
            answer["width"],
            answer["height"],
            answer["cropped"],
        )


def kinds(answer: Any) -> Any:
    """Return an answer with the type of each value in its place."""
    return {name: kinds(value) for name, value in answer.items()} if isinstance(answer, dict) else type(answer).__name__


def check_mp4(path: Path, *, width: int, height: int, frames: int) -> None:
    data = path.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height, float(stream.average_rate or 0)) == (width, height, 16.0)
        assert sum(1 for _ in container.decode(stream)) == frames


async def test_pictures_prompts_and_seeds_make_different_videos_and_the_same_job_the_same_one(
    road: Road, client: aiohttp.ClientSession
) -> None:
    jobs = [
        {"seed": 1},
        {"seed": 1},
        {"seed": 2},
        {"seed": 1, "prompt": "a red balloon rises over the town"},
        {"seed": 1, "image_url": picture(color="crimson")},
    ]
    ids = [await road.submit(client, **job) for job in jobs]
    for job_id in ids:
        assert (await road.ended(client, job_id))["status"] == "Succeed"
    videos = [(road.videos / f"{job_id}.mp4").read_bytes() for job_id in ids]
    assert videos[0] == videos[1]
    assert len(set(videos)) == 4


def frames(path: Path) -> list[bytes]:
    with av.open(str(path)) as video:
        return [frame.to_ndarray().tobytes() for frame in video.decode(video=0)]


async def test_each_job_runs_by_the_plan_that_it_asks_for(road: Road, client: aiohttp.ClientSession, link: Bus) -> None:
    """One after the other on the same ranks, and by every plan it is the same video."""
    plans = [(1, 1), (1, 2), (2, 1)]
    jobs = [{"cfg_size": cfg, "ulysses_size": ulysses, "vae_parallel": False} for cfg, ulysses in plans]
    cached = {"use_attentioncache": True, "start_step": 2, "end_step": 18}
    ids = [await road.submit(client, seed=1, **job) for job in [*jobs, {**jobs[0], **cached}, {**jobs[2], **cached}]]
    for job_id in ids:
        assert (await road.ended(client, job_id, within_s=90))["status"] == "Succeed"
    started = [await link.last(subjects.EVENTS_STREAM, subjects.starts_of(job_id)) for job_id in ids[:3]]
    events = [wire.decode_event(message.data) for message in started if message is not None]
    ran_by = [event.plan for event in events if isinstance(event, JobStarted)]
    assert [(plan.cfg_size, plan.ulysses_size) for plan in ran_by if plan is not None] == plans
    videos = [frames(road.videos / f"{job_id}.mp4") for job_id in ids]  # the files say by which job they were made
    assert videos[0] == videos[1] == videos[2]
    assert videos[3] == videos[4] != videos[0]


async def test_a_live_message_that_the_log_does_not_confirm_changes_nothing(
    road: Road, client: aiohttp.ClientSession, link: Bus
) -> None:
    job_id = await road.submit(client, **LONG)
    await road.at_step(client, job_id, 1)
    for payload in (b"", wire.encode(JobCancelled(job_id=job_id, at=time.time()))):
        await link.admin._nc.publish(f"video.live.{job_id}.finished.cancelled", payload)
    assert (await road.ended(client, job_id, within_s=90))["status"] == "Succeed"
    starts = await link.read(subjects.EVENTS_STREAM, subjects.starts_of(job_id))
    assert len(starts) == 1


async def test_a_replay_gives_the_same_statuses_byte_for_byte_in_every_phase(
    road: Road, client: aiohttp.ClientSession, link: Bus
) -> None:
    done, failed, cancelled = [await road.submit(client, **f) for f in ({}, {"ulysses_size": 2}, LONG)]
    await road.ended(client, done)
    await road.ended(client, failed)
    await post(client, f"{road.edge.url}/video/cancel", {"requestId": cancelled})
    running = await road.submit(client, **LONG)
    await road.at_step(client, running, 2)
    await asyncio.to_thread(road.cluster.stop)  # hands it back: no cluster publishes from here on
    waiting = await road.submit(client)

    async def bucket() -> dict[str, bytes]:
        stored = {job_id: await link.get(subjects.STATUS_BUCKET, job_id) for job_id in ids}
        return {job_id: message.data for job_id, message in stored.items() if message is not None}

    ids = [done, failed, cancelled, running, waiting]
    await eventually(lambda: all_folded(link))
    before = await bucket()
    assert len(before) == 5
    await asyncio.to_thread(road.run, "-m", "ops.replay")
    assert await bucket() == before
    await road.replace_cluster()
    await post(client, f"{road.edge.url}/video/cancel", {"requestId": running})
    assert (await road.ended(client, waiting, within_s=90))["status"] == "Succeed"


@auth.WITHOUT_KEYS  # what cannot be read is nobody's
async def test_a_job_that_cannot_be_run_fails_with_its_reason_and_others_go_on(
    road: Road, client: aiohttp.ClientSession, link: Bus
) -> None:
    async def enqueue(n: int, payload: bytes) -> str:
        job_id = f"{n:032x}"
        await link.publish(subjects.job(job_id), payload, message_id=job_id, within_s=5)
        return job_id

    def submission(n: int, **fields: Any) -> bytes:
        job = Job(prompt="a boat at sea", num_frames=25, seed=1, **fields)
        return wire.encode(JobSubmitted(job_id=f"{n:032x}", created_at=time.time(), job=job))

    await link.publish(subjects.job("test:1"), b"garbage", within_s=5)  # no id of ours, and no file name
    reasons = {
        await enqueue(1, b"garbage"): "the job could not be read",
        await enqueue(2, submission(2)): "the input image is gone",
        await enqueue(3, submission(3, ulysses_size=3)): "ulysses_size was 3; on cluster",
        await enqueue(7, submission(8)): "the job could not be read",
        await enqueue(4, submission(4, image_size="1280*720")): "image_size was 1280*720; cluster",
    }
    await link.publish(f"video.events.{5:032x}.finished.failed", b"garbage", within_s=5)
    reasons[await enqueue(5, submission(5))] = "its ending cannot be read"
    await link.publish(f"video.events.{6:032x}.started", b"garbage", within_s=5)
    png = base64.b64decode(picture().split(",")[1])
    await open_store(str(road.edge.scratch)).write(input_name(f"{6:032x}"), png)
    fine = [await enqueue(6, submission(6)), await road.submit(client)]

    async def all_ended() -> bool:  # until then, nobody knows the jobs that cannot be read
        endings = [await link.last(subjects.EVENTS_STREAM, subjects.endings_of(job_id)) for job_id in reasons]
        return None not in endings

    await eventually(all_ended, within_s=60)
    for job_id, reason in reasons.items():
        ended = await road.ended(client, job_id)
        assert ended["status"] == "Failed"
        assert ended["reason"].startswith(reason)
    for job_id in fine:
        assert (await road.ended(client, job_id))["status"] == "Succeed"
    assert await link.last(subjects.JOBS_STREAM, subjects.job("test:1")) is None
    assert "lead_failed" not in road.cluster.text

    async def queue_is_empty() -> bool:  # a job is acknowledged after its ending is published
        return (await link.stream(subjects.JOBS_STREAM)).state.messages == 0

    await eventually(queue_is_empty)


async def test_another_job_under_the_id_of_one_that_the_broker_forgot_gets_its_own_video_and_record(
    road: Road, client: aiohttp.ClientSession, link: Bus
) -> None:
    """So it goes with an idempotency key that is used again after the log has forgotten the first job."""
    job_id = await road.submit(client, seed=1)
    first = (await road.ended(client, job_id))["results"]
    submitted = await link.last(subjects.EVENTS_STREAM, subjects.submission_of(job_id))
    assert submitted is not None
    await link.admin.purge_stream(subjects.EVENTS_STREAM, subject=subjects.events_of(job_id))
    await link.put_last(subjects.STATUS_BUCKET, job_id, b"")
    road.broker.kill()  # with it goes what it knew of message ids
    road.broker.start()
    await link.wait_for_streams(subjects.EVENTS_STREAM, stop=asyncio.Event())
    await open_store(str(road.edge.scratch)).write(input_name(job_id), base64.b64decode(picture().split(",")[1]))
    before = wire.decode_submission(submitted.data)
    second = replace(before, created_at=time.time(), job=replace(before.job, seed=2))
    await link.publish(subjects.job(job_id), wire.encode(second), message_id=f"{job_id}.second", within_s=5)

    def recorded() -> bool:  # the edge may remember the first job's status for a moment
        file = road.videos / video_record_name(job_id)
        return file.exists() and wire.decode_record(file.read_bytes()).submitted == second

    await eventually(recorded, within_s=60)
    video = (road.videos / f"{job_id}.mp4").read_bytes()
    record = wire.decode_record((road.videos / video_record_name(job_id)).read_bytes())
    assert isinstance(record.ending, JobSucceeded)
    assert record.submitted == second
    assert record.ending.sha256 == hashlib.sha256(video).hexdigest()
    async with client.get(road.edge.url + first["video_url"]) as answer:
        assert answer.status == 200
        assert await answer.read() == video

    await eventually(lambda: all_folded(link), within_s=60)


async def test_killed_services_lose_no_job(road: Road, client: aiohttp.ClientSession) -> None:
    job_id = await road.submit(client, **LONG)
    await road.at_step(client, job_id, 1)
    road.broker.kill()
    road.state.kill()
    road.broker.start()
    road.start(road.state)
    assert (await road.ended(client, job_id, within_s=90))["status"] == "Succeed"
