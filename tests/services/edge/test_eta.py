"""How long a job will still take: waiting ones by the queue ahead, running ones by their cluster's word."""

import asyncio
import time
from typing import Any

import pytest

from contracts import subjects
from contracts.broker import Bus
from contracts.events import JobCancelled, JobStarted, JobSubmitted, StepCompleted
from contracts.job import Job
from contracts.job_log import JobLog
from contracts.stage_times import MeasuredPace
from services.edge import forecast
from services.edge.forecast import Forecasts
from services.edge.jobs import Jobs
from tests.kit.waiting import eventually
from tests.services.edge.test_edge import cluster
from tests.services.edge.test_queue_ahead import PACE

JOB = Job(prompt="a boat at sea", num_frames=25, infer_steps=20, seed=1)
RUNNING = "a" * 32


def waiting(n: int) -> str:
    return f"{n:032x}"


@pytest.fixture
def jobs(link: Bus) -> Jobs:
    return Jobs(link, *[None] * 2, retention_s=1)  # pyright: ignore[reportArgumentType]  # stores are not asked


async def queue(link: Bus, *job_ids: str) -> None:
    for job_id in job_ids:
        await JobLog(link, "test").queue.add(JobSubmitted(job_id=job_id, created_at=1.0, job=JOB), within_s=2)


async def beat(link: Bus, paces: list[MeasuredPace], **changes: Any) -> None:
    await cluster(link, at=time.time(), paces=paces, **changes)


async def test_a_waiting_job_ends_after_those_ahead_of_it(link: Bus, jobs: Jobs) -> None:
    await queue(link, RUNNING, *map(waiting, range(3)))
    await link.pull(subjects.JOBS_STREAM, subjects.INFERENCE_DURABLE, stop=asyncio.Event())
    await beat(link, [PACE], current_jobs=[RUNNING], jobs_left_s=[4.5], free_in_s=4.0)
    etas = [(await jobs.status(waiting(n))).eta_seconds for n in range(3)]
    assert etas == pytest.approx([14.5, 24.5, 34.5], abs=1.0)


async def test_nothing_is_made_up_without_a_cluster_or_without_a_pace(link: Bus, jobs: Jobs) -> None:
    await queue(link, waiting(1))
    assert (await jobs.status(waiting(1))).eta_seconds is None
    await beat(link, [])
    fresh = Jobs(link, *[None] * 2, retention_s=1)  # pyright: ignore[reportArgumentType]
    status = await fresh.status(waiting(1))
    assert (status.status, status.queue_position, status.eta_seconds) == ("InQueue", 1, None)


async def test_a_job_that_its_cluster_has_fetched_ahead_ends_when_the_cluster_says(link: Bus, jobs: Jobs) -> None:
    await queue(link, waiting(1))
    await beat(link, [PACE], current_jobs=[RUNNING, waiting(1)], jobs_left_s=[1.0, 42.0], free_in_s=41.0)
    assert (await jobs.status(waiting(1))).eta_seconds == pytest.approx(42.0, abs=1.0)


async def test_a_running_job_ends_when_its_last_event_said_less_the_time_since(link: Bus, jobs: Jobs) -> None:
    now = time.time()
    log = JobLog(link, "test")
    for event in (
        JobSubmitted(job_id=RUNNING, created_at=now - 9, job=JOB),
        JobStarted(job_id=RUNNING, at=now - 8, attempt=1, instance="c1", width=64, height=48, num_frames=25),
        StepCompleted(job_id=RUNNING, at=now - 5, attempt=1, step=3, steps=20, progress=0.2, eta_seconds=30.0),
    ):
        await log.append(event)
    assert (await jobs.status(RUNNING)).eta_seconds == pytest.approx(25.0, abs=1.0)
    await log.publish_ending(JobCancelled(job_id=RUNNING, at=now))
    assert (await jobs.status(RUNNING)).eta_seconds is None


async def test_a_clock_that_is_off_neither_adds_to_the_time_left_nor_makes_it_negative(link: Bus, jobs: Jobs) -> None:
    now = time.time()
    for job_id, at in ((waiting(1), now + 86_400), (waiting(2), now - 86_400)):
        await JobLog(link, "test").append(JobSubmitted(job_id=job_id, created_at=at - 9, job=JOB))
        await JobLog(link, "test").append(
            StepCompleted(job_id=job_id, at=at, attempt=1, step=3, steps=20, progress=0.2, eta_seconds=30.0)
        )
    assert (await jobs.status(waiting(1))).eta_seconds == 30.0
    assert (await jobs.status(waiting(2))).eta_seconds == 0.0


async def test_the_broker_is_asked_for_one_forecast_however_many_statuses_are(link: Bus) -> None:
    asked = 0

    async def clusters() -> list[Any]:
        nonlocal asked
        asked += 1
        return []

    forecasts = Forecasts(link, JobLog(link, "test"), clusters)
    began = time.monotonic()
    for _ in range(1000):
        await forecasts.eta_s(waiting(1), 1)
    assert asked <= 1 + (time.monotonic() - began) / forecast.FRESH_S


async def test_an_old_forecast_is_answered_with_while_the_next_one_is_made(link: Bus, monkeypatch: Any) -> None:
    monkeypatch.setattr(forecast, "KEPT_S", 0.0)
    monkeypatch.setattr(forecast, "FRESH_S", 0.0)
    jobs = Jobs(link, *[None] * 2, retention_s=1)  # pyright: ignore[reportArgumentType]
    await queue(link, waiting(1))
    await beat(link, [PACE], free_in_s=0.0)
    assert (await jobs.status(waiting(1))).eta_seconds == pytest.approx(10.5, abs=1.0)
    await beat(link, [PACE], free_in_s=50.0)

    async def newer() -> bool:
        eta_seconds = (await jobs.status(waiting(1))).eta_seconds
        return eta_seconds is not None and eta_seconds > 50

    await eventually(newer)


async def test_a_queue_of_more_jobs_than_are_looked_at_goes_on_at_its_rate(link: Bus, monkeypatch: Any) -> None:
    monkeypatch.setattr(forecast, "LOOKED_AT_MAX", 2)
    jobs = Jobs(link, *[None] * 2, retention_s=1)  # pyright: ignore[reportArgumentType]
    await queue(link, *map(waiting, range(5)))
    await beat(link, [PACE], free_in_s=0.0)
    assert (await jobs.status(waiting(4))).eta_seconds == pytest.approx(50.5, abs=1.0)


async def test_a_job_that_has_just_come_is_not_answered_by_a_forecast_of_before(link: Bus, monkeypatch: Any) -> None:
    monkeypatch.setattr(forecast, "FRESH_S", 0.0)
    jobs = Jobs(link, *[None] * 2, retention_s=1)  # pyright: ignore[reportArgumentType]
    await queue(link, waiting(1))
    await beat(link, [PACE], free_in_s=0.0)
    await jobs.status(waiting(1))
    await queue(link, waiting(2))
    assert (await jobs.status(waiting(2))).eta_seconds == pytest.approx(20.5, abs=1.0)
