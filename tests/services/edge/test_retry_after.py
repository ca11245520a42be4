"""The contents of a 429: how full the service is, and when a place may be free."""

import time
from typing import Any

import aiohttp

from contracts import subjects, wire
from contracts.broker import Bus
from contracts.events import JobStarted, JobSucceeded
from contracts.job import video_path, video_url
from contracts.job_log import JobLog
from contracts.stage_times import Timings
from contracts.status import JobStatus
from services.edge import forecast
from services.edge.forecast import Forecasts
from services.edge.jobs import Jobs
from services.edge.payloads import RETRY_AFTER_S
from services.edge.retry_after import NOBODY_WORKS_S, RETRY_AFTER_S_MAX, RETRY_AFTER_S_MIN, RetryAfter
from tests.kit.edge import PROMPT, Edge, picture, submit
from tests.services.edge.test_edge import cluster

RUNNING, ENDED = "a" * 32, "b" * 32


async def estimate(link: Bus) -> int:
    """Return a first estimate, in seconds."""
    jobs = Jobs(link, *[None] * 2, retention_s=1)  # pyright: ignore[reportArgumentType]  # stores are not asked
    return await RetryAfter(Forecasts(link, JobLog(link, publisher="test"), jobs.clusters)).seconds()


async def publish(link: Bus, event: Any) -> None:
    await link.publish(subjects.event(event), wire.encode(event), within_s=2)


async def start(link: Bus, progress: float) -> None:
    await publish(
        link,
        JobStarted(job_id=RUNNING, at=1.0, attempt=1, instance="c1", width=64, height=48, num_frames=25),
    )
    await put_status(link, progress)


async def put_status(link: Bus, progress: float, *, attempt: int = 1) -> None:
    status = JobStatus(job_id=RUNNING, status="InProgress", progress=progress, attempt=attempt)
    await link.put_last(subjects.STATUS_BUCKET, RUNNING, wire.encode(status))


async def succeed(link: Bus, seconds: float) -> None:
    taken = Timings(load=0, encode=0, denoise=seconds, decode=0, mux=0, store=0)
    ending = JobSucceeded(
        job_id=ENDED, at=4e9, attempt=1, instance="c1", video_url=video_url(ENDED), video_path=video_path(ENDED),
        width=64, height=48, num_frames=25, duration=1.5625, size_bytes=3, sha256="0" * 64, seed=1, timings=taken,
    )  # fmt: skip
    await publish(link, ending)


async def test_without_a_cluster_no_place_is_freed_soon(link: Bus) -> None:
    assert await estimate(link) == NOBODY_WORKS_S


async def test_where_nothing_has_been_measured_nothing_is_made_up(link: Bus) -> None:
    await cluster(link, current_jobs=[RUNNING])
    assert await estimate(link) == RETRY_AFTER_S


async def test_what_the_latest_success_took_is_what_a_job_takes(link: Bus) -> None:
    await cluster(link, current_jobs=[])
    await succeed(link, 300.0)
    assert await estimate(link) == 300
    await cluster(link, current_jobs=[RUNNING])
    await start(link, 0.01)
    assert 200 < await estimate(link) <= 300


async def test_a_running_job_is_measured_by_its_own_progress(link: Bus, monkeypatch: Any) -> None:
    await cluster(link, current_jobs=[RUNNING])
    await start(link, 0.5)
    began = await link.now()

    async def later() -> float:
        return began + 100

    monkeypatch.setattr(link, "now", later)
    assert 95 <= await estimate(link) <= 110
    await put_status(link, 0.25)
    assert 290 <= await estimate(link) <= 310


async def test_an_estimate_has_bounds(link: Bus) -> None:
    await cluster(link, current_jobs=[])
    await succeed(link, 1e6)
    assert await estimate(link) == RETRY_AFTER_S_MAX
    await succeed(link, 0.0)
    assert await estimate(link) == RETRY_AFTER_S_MIN


async def test_what_cannot_be_read_makes_no_estimate(link: Bus) -> None:
    await cluster(link, current_jobs=[RUNNING])
    await link.publish(f"video.events.{ENDED}.finished.succeeded", b"{", within_s=2)
    await link.publish(subjects.starts_of(RUNNING), b"{", within_s=2)
    await link.put_last(subjects.STATUS_BUCKET, RUNNING, b"{")
    assert await estimate(link) == RETRY_AFTER_S


async def test_the_broker_is_asked_once_for_many_refusals(link: Bus) -> None:
    asked = 0

    async def clusters() -> list[Any]:
        nonlocal asked
        asked += 1
        return []

    each = RetryAfter(Forecasts(link, JobLog(link, publisher="test"), clusters))
    began = time.monotonic()
    for _ in range(1000):
        await each.seconds()
    assert asked <= 1 + (time.monotonic() - began) / forecast.KEPT_S


async def test_a_full_service_says_how_full_it_is_in_the_shape_of_every_error(
    client: aiohttp.ClientSession, edge: Edge, link: Bus
) -> None:
    await cluster(link)
    await succeed(link, 77.0)
    for _ in range(5):
        assert (await submit(client, edge))[0] == 202
    await cluster(link)  # on a slow machine the first heartbeat has expired
    body = {"prompt": PROMPT, "image_url": picture()}
    async with client.post(f"{edge.url}/video/submit", json=body) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (429, "77")
        assert await answer.json() == {
            "error": "BUSY",
            "message": "5 of 5 allowed unfinished jobs exist; a place may be free in 77 s",
            "detail": "服务器繁忙，请稍后重试",
        }
