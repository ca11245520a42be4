"""Measures whether the ranks wait between two jobs: runs the whole service with jobs waiting in its queue.

`worker` calls `measure`. The cluster has one rank. The jobs differ in their prompts, so that no job finds its prompt
encoded already.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from contracts import subjects, wire
from contracts.events import AnyEvent, JobSucceeded, StageStarted
from contracts.stage_times import Stage
from ops import broker
from ops.bench.report.row import Aim, Row, Series
from ops.bench.setup import PROMPT, Setup
from ops.bench.turns import say
from ops.local import demo
from ops.local.sample_image import sample
from ops.local.stack import Stack, on_free_ports
from ops.local.submission import request, submit
from ops.local.supervisor import running

NOTHING_BETWEEN = Aim("≤", 1.05)
POLL_S = 0.5


class Between(NamedTuple):
    """The seconds from a job's decoded video to the next job's first step, and those of the next job's encoding."""

    gap_s: float
    encode_s: float


def measure(setup: Setup) -> Iterator[Row]:
    """Yield one row: the gap between two jobs against the encoding of the later job.

    Runs a stack of its own, with one job more than `setup.count`. Ends the process if the stack does not start or a job
    does not end, and raises `ValueError` if a job does not succeed.
    """
    with tempfile.TemporaryDirectory() as folder:
        stack = _stack(Path(folder), setup)
        with running(stack, say=say):
            job_ids = [_submit(stack, number) for number in range(1 + setup.count)]
            for number, job_id in enumerate(job_ids, start=1):
                _wait_for(stack, job_id)
                say(f"job {number} of {len(job_ids)} has ended")
            logs = asyncio.run(_logs(stack, job_ids))
    pairs = [between(*pair) for pair in pairwise(logs)]
    yield Row(
        part="queue",
        what="from decoded video to next job's first step",
        unit="s",
        over=Series("gap", [pair.gap_s for pair in pairs]),
        under=Series("encode", [pair.encode_s for pair in pairs]),
        aim=NOTHING_BETWEEN,
    )


def between(before: Sequence[AnyEvent], after: Sequence[AnyEvent]) -> Between:
    """Return the gap between two jobs that ran one after the other, from their logs.

    Raises `ValueError` if `after` has not succeeded, or if a job never came to the stage that bounds the gap.
    """
    timings = next((event.timings for event in after if isinstance(event, JobSucceeded)), None)
    if timings is None:
        raise ValueError("the job has not succeeded at its first attempt")
    return Between(_began(after, "denoise") - _began(before, "store"), timings.encode)


def _began(events: Sequence[AnyEvent], stage: Stage) -> float:
    """Return the Unix time at which a stage began; a video is decoded once `store` begins. Raises `ValueError`."""
    for event in events:
        if isinstance(event, StageStarted) and event.stage == stage:
            return event.at
    raise ValueError(f"the job never came to {stage}")


def _stack(folder: Path, setup: Setup) -> Stack:
    """Return a stack in the folder, on free ports, with one rank and a queue that takes all jobs of the setup."""
    return on_free_ports(
        folder / "stack",
        ranks=1,
        video_store_url=str(folder / "videos"),
        scratch_store_url=str(folder / "scratch"),
        extra={"OMP_NUM_THREADS": str(setup.threads), "MAX_CONCURRENT_TASKS": str(1 + setup.count)},
    )


def _submit(stack: Stack, number: int) -> str:
    """Submit a job whose prompt has this number, and return its id. Ends the process if the service refuses it."""
    return submit(stack.url, request(sample(), f"{PROMPT}, wave {number}"))


async def _logs(stack: Stack, job_ids: Sequence[str]) -> list[list[AnyEvent]]:
    """Return the events of each job that can be decoded, oldest first."""
    async with broker.connected(
        broker.Settings(stack.nats_url, nats_keys=str(stack.keys)), name="bench", user="operator"
    ) as bus:
        stored = [await bus.read(subjects.EVENTS_STREAM, subjects.events_of(job_id)) for job_id in job_ids]
    return [list(wire.readable_events(events)) for events in stored]


def _wait_for(stack: Stack, job_id: str) -> None:
    """Return once the job has ended. Ends the process after `demo.JOB_WITHIN_S`."""
    deadline = time.monotonic() + demo.JOB_WITHIN_S
    while not demo.status_of(stack.url, job_id).ended:
        if time.monotonic() > deadline:
            sys.exit(f"a job has not ended within {demo.JOB_WITHIN_S:.0f} s")
        time.sleep(POLL_S)
