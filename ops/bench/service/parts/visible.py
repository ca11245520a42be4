"""Measures how soon a published event shows: in the bucket and in the edge's answer, against a bare put and get.

`run` calls `measure`. Steps of one running job are published one at a time, while nothing else goes on.
"""

import asyncio
import statistics
import time
import urllib.request
from collections.abc import Iterator

import msgspec

from contracts import subjects, wire
from contracts.broker import Bus
from contracts.events import StepCompleted
from contracts.status import JobStatus
from ops.bench.report.row import Aim, Row, Series
from ops.bench.service import limits
from ops.bench.service.asked import Asked
from ops.bench.service.events import AT
from ops.bench.service.fill import in_log, life
from ops.bench.service.ids import job_id
from ops.bench.service.stack import Service
from ops.bench.turns import by_turns

VISIBLE_AIM = Aim("≤", 2.0)
PUBLISH_WITHIN_S = 10.0
SEEN_WITHIN_S = 10.0
EVENTS_A_ROUND = 20


def measure(asked: Asked) -> Iterator[Row]:
    """Yield the rows of an event until it shows."""
    with asked.service(asked.trees[0], "visible").running() as service:
        steps = iter(range(1, 10**6))
        name = job_id("running", 0)
        service.ask(lambda bus: _begin(bus, name))

        def bucket() -> float:
            return statistics.median(service.ask(lambda bus: _seen(bus, service, name, steps, over_http=False)))

        def http() -> float:
            return statistics.median(service.ask(lambda bus: _seen(bus, service, name, steps, over_http=True)))

        def bare() -> float:
            return limits.trips("put-get", service.nats_url, asked.cores, seconds=0.2, clients=1).p50_ms

        taken = by_turns({"bucket": bucket, "http": http, "put+get": bare}, asked.rounds)
    under = Series("put+get", taken["put+get"])
    for side, what, aim in (("bucket", "in the bucket", VISIBLE_AIM), ("http", "in the edge's answer", None)):
        over = Series("ours", taken[side])
        yield Row(part="visible", what=f"event {what}, p50", unit="ms", over=over, under=under, aim=aim)


async def _begin(bus: Bus, name: str) -> None:
    """Put the start of a job into the log."""
    for subject, payload in in_log(life(name)[:3]):
        await bus.publish(subject, payload, within_s=PUBLISH_WITHIN_S)


async def _seen(bus: Bus, service: Service, name: str, steps: Iterator[int], *, over_http: bool) -> list[float]:
    """Return the milliseconds from each of `EVENTS_A_ROUND` publishes until the event shows."""
    took: list[float] = []
    for _ in range(EVENTS_A_ROUND):
        step = next(steps)
        event = StepCompleted(job_id=name, at=AT + step, attempt=1, step=step, steps=step, progress=_progress(step))
        began = time.monotonic()
        await bus.publish(subjects.event(event), wire.encode(event), within_s=PUBLISH_WITHIN_S)
        while await _step_shown(bus, service, name, over_http=over_http) < step:
            if time.monotonic() > began + SEEN_WITHIN_S:
                raise TimeoutError("an event does not show")
        took.append(1000 * (time.monotonic() - began))
    return took


def _progress(step: int) -> float:
    """Return a progress that grows with the step and stays below 1."""
    return 1 - 1 / (step + 2)


async def _step_shown(bus: Bus, service: Service, name: str, *, over_http: bool) -> int:
    """Return the step in the job's status, from the bucket or from the edge; 0 without a status."""
    if over_http:
        url = f"http://127.0.0.1:{service.port}/video/status/{name}"
        with await asyncio.to_thread(urllib.request.urlopen, url) as answer:
            return msgspec.json.decode(answer.read(), type=JobStatus).step
    stored = await bus.get(subjects.STATUS_BUCKET, name)
    return 0 if stored is None else msgspec.json.decode(stored.data, type=JobStatus).step
