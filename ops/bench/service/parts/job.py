"""Measures what the service adds to a job: the whole road with the pocket model on one rank. `run` calls `measure`.

The overhead is the time from sending a submission until its ending is seen, less the engine's own timings. The gap is
from one job's decoded video to the next job's first step, against the next job's encoding, as `parts.queue` has it.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise

from contracts import subjects, wire
from contracts.events import AnyEvent, JobSucceeded
from ops import broker
from ops.bench.parts.queue import NOTHING_BETWEEN, between
from ops.bench.report.row import Row, Series
from ops.bench.service.asked import Asked
from ops.bench.turns import say
from ops.local import demo
from ops.local.sample_image import sample
from ops.local.stack import Stack, on_free_ports
from ops.local.submission import request, submit
from ops.local.supervisor import running

PROMPT = "a small boat sails over a calm sea"
JOBS_MAX = 3
POLL_S = 0.01


def measure(asked: Asked) -> Iterator[Row]:
    """Yield the rows of jobs one by one and of jobs that wait, `JOBS_MAX` of each, or as many as there are rounds."""
    count = min(JOBS_MAX, asked.rounds)
    stack = on_free_ports(
        asked.folder / "job",
        ranks=1,
        video_store_url=str(asked.folder / "job-videos"),
        scratch_store_url=str(asked.folder / "job-scratch"),
        extra={"OMP_NUM_THREADS": "1", "MAX_CONCURRENT_TASKS": str(count + 1)},
    )
    with running(stack, say=say):
        alone = [_ended(stack, _submit(stack, number)) for number in range(count)]
        queued = [_submit(stack, count + number)[0] for number in range(count + 1)]
        for job_id in queued:
            _wait_for(stack, job_id)
        logs = asyncio.run(_logs(stack, [job_id for job_id, _ in alone] + queued))
    engine = [_engine_s(log) for log in logs[:count]]
    overhead = [took - engine_s for (_, took), engine_s in zip(alone, engine, strict=True)]
    yield Row(
        part="job",
        what="seconds beside the engine's own, of a job alone",
        unit="s",
        over=Series("overhead", overhead),
        under=Series("engine", engine),
    )
    gaps = [between(*pair) for pair in pairwise(logs[count:])]
    yield Row(
        part="job",
        what="from decoded video to next job's first step",
        unit="s",
        over=Series("gap", [gap.gap_s for gap in gaps]),
        under=Series("encode", [gap.encode_s for gap in gaps]),
        aim=NOTHING_BETWEEN,
    )


def _submit(stack: Stack, number: int) -> tuple[str, float]:
    """Submit a job; return its id, and when the submission was sent."""
    began = time.monotonic()
    return submit(stack.url, request(sample(), f"{PROMPT}, wave {number}")), began


def _ended(stack: Stack, submitted: tuple[str, float]) -> tuple[str, float]:
    """Wait for a job's end; return its id, and the seconds since the submission was sent."""
    job_id, began = submitted
    _wait_for(stack, job_id)
    return job_id, time.monotonic() - began


def _wait_for(stack: Stack, job_id: str) -> None:
    """Return once the job has ended. Raises `TimeoutError` after `demo.JOB_WITHIN_S`."""
    deadline = time.monotonic() + demo.JOB_WITHIN_S
    while not demo.status_of(stack.url, job_id).ended:
        if time.monotonic() > deadline:
            raise TimeoutError(f"a job has not ended within {demo.JOB_WITHIN_S:.0f} s")
        time.sleep(POLL_S)
    say(f"job {job_id} has ended")


async def _logs(stack: Stack, job_ids: Sequence[str]) -> list[list[AnyEvent]]:
    """Return the events of each job, oldest first."""
    async with broker.connected(
        broker.Settings(stack.nats_url, nats_keys=str(stack.keys)), name="bench", user="operator"
    ) as bus:
        stored = [await bus.read(subjects.EVENTS_STREAM, subjects.events_of(job_id)) for job_id in job_ids]
    return [list(wire.readable_events(events)) for events in stored]


def _engine_s(log: Sequence[AnyEvent]) -> float:
    """Return the seconds of the engine's own timings. Raises `ValueError` if the job has not succeeded."""
    for event in log:
        if isinstance(event, JobSucceeded) and event.timings is not None:
            timings = event.timings
            return sum(getattr(timings, field) for field in timings.__struct_fields__)
    raise ValueError("the job has not succeeded at its first attempt")
