"""Fills the broker of a service with jobs, quickly: plain publishes, each thousandth acknowledged.

The log, the queue and the bucket hold afterwards what edge, clusters and state would have written.
"""

import asyncio
from collections.abc import Iterable, Iterator

import nats
from nats.aio.client import Client

from contracts import subjects, wire
from contracts.events import Event, StepCompleted
from contracts.fold import fold_all
from contracts.stage_times import STAGES
from ops.bench.service.events import AT, STEPS, stage_started, started, submission, succeeded
from ops.bench.service.ids import count_of, job_id
from ops.bench.service.stack import Service

SYNC_EVERY = 500
SYNC_WITHIN_S = 60.0
EVENTS_A_LIFE = 1 + 1 + len(STAGES) + STEPS + 1

Message = tuple[str, bytes]


def life(name: str, *, sha256: str = "0" * 64, size_bytes: int = 1000) -> list[Event]:
    """Return the events of a job that succeeds, `EVENTS_A_LIFE` of them."""
    begun = [stage_started(name, stage) for stage in STAGES]
    steps = [
        StepCompleted(job_id=name, attempt=1, at=AT + step, step=step, steps=STEPS, progress=0.1 + 0.8 * step / STEPS)
        for step in range(1, STEPS + 1)
    ]
    ending = succeeded(name, instance="bench", at=AT + STEPS + 1, sha256=sha256, size_bytes=size_bytes)
    return [submission(name), started(name, instance="bench", at=AT), *begun[:2], *steps, *begun[2:], ending]


def in_log(events: Iterable[Event]) -> Iterator[Message]:
    """Yield the messages of these events in the log."""
    for event in events:
        yield subjects.event(event), wire.encode(event)


def in_bucket(events: Iterable[Event]) -> Iterator[Message]:
    """Yield the message of the status that the events of one job fold to."""
    status = fold_all(events)
    assert status is not None
    yield subjects.bucket_key(subjects.STATUS_BUCKET, status.job_id), wire.encode(status)


def jobs_of_all_kinds(jobs: int) -> Iterator[Message]:
    """Yield the messages of a service with so many ended and waiting jobs, and with jobs that run.

    Those that run are the first in the queue.
    """
    for number in range(count_of("ended", jobs)):
        first, *_, last = life(job_id("ended", number))
        yield from in_log([first, last])
        yield from in_bucket([first, last])
    for kind in ("running", "waiting"):
        for number in range(count_of(kind, jobs)):
            name = job_id(kind, number)
            events = life(name)[: 4 + STEPS // 2] if kind == "running" else [submission(name)]
            yield subjects.job(name), wire.encode(submission(name))
            yield from in_log(events[1:])
            yield from in_bucket(events)


def lives(count: int) -> Iterator[Message]:
    """Yield the messages in the log of so many jobs that succeeded."""
    for number in range(count):
        yield from in_log(life(job_id("ended", number)))


def publish(service: Service, messages: Iterable[Message]) -> None:
    """Publish all messages to the broker of a service. Raises nats-py's errors if the broker does not store them."""
    asyncio.run(_publish(service.nats_url, messages))


async def _publish(url: str, messages: Iterable[Message]) -> None:
    client: Client = await nats.connect(url)
    try:
        stream = client.jetstream()
        for number, (subject, payload) in enumerate(messages, start=1):
            if number % SYNC_EVERY:
                await client.publish(subject, payload)
            else:
                await stream.publish(subject, payload, timeout=SYNC_WITHIN_S)
        await client.flush(timeout=int(SYNC_WITHIN_S))
    finally:
        await client.close()


def have_pulled(service: Service, count: int) -> None:
    """Pull so many jobs from the queue as clusters do, so that they run."""

    async def pull() -> None:
        client: Client = await nats.connect(service.nats_url)
        try:
            durable = await client.jetstream().pull_subscribe_bind(
                durable=subjects.INFERENCE_DURABLE, stream=subjects.JOBS_STREAM
            )
            left = count
            while left > 0:
                left -= len(await durable.fetch(min(left, 100), timeout=10))
        finally:
            await client.close()

    asyncio.run(pull())
