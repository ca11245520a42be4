"""What a step costs beside the model: the ranks' vote, and rank 0's report of it.

The real parts of rank 0 in its real threads, up to the bytes of an event; no broker takes them.
"""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import torch.distributed as dist
from torch.distributed.distributed_c10d import Store

from contracts import wire
from contracts.broker import Expect
from contracts.events import JobSubmitted
from contracts.job import Job, parse_size
from contracts.plan import Plan
from inference.leader.attempt import Attempt
from inference.leader.bridge import Desk
from inference.leader.planner import Planned
from inference.leader.progress import Pace
from inference.ranks.broadcast import Group
from inference.ranks.commands import Run
from inference.ranks.monitor import Watch
from inference.ranks.worker import Left
from ops.bench.row import Aim, Row, Series
from ops.bench.setup import PROMPT, Setup

STEPS = 100  # of a round: the most that a client may ask for
A_MILLISECOND = Aim("≤", 1.0)
RANKS_OF_THE_AIM = 2
JOB = Job(prompt=PROMPT, num_frames=81, seed=1, infer_steps=STEPS)
NOBODY: Any = None  # acknowledges nothing: there is no message


def measure(setup: Setup, store: Store) -> Iterator[Row]:
    rank, ranks = dist.get_rank(), dist.get_world_size()
    with Watch(store, rank, ranks).kept() as watch:
        if rank != 0:
            _pass_steps(Group(None, watch), setup.count)
            return
        over = Series(f"{ranks} ranks", asyncio.run(_lead(watch, setup)))
    aim = A_MILLISECOND if ranks == RANKS_OF_THE_AIM else None
    yield Row(part="control", what="vote and report of a step", unit="ms", over=over, aim=aim)


async def _lead(watch: Watch, setup: Setup) -> list[float]:
    """Rank 0's asyncio half; its loop's half is the other thread."""
    desk = Desk()
    width, height = parse_size(setup.size)
    run = Run(
        job_id="0" * 32, attempt=1, job=JOB, plan=Plan(cfg_size=1, ulysses_size=1),
        width=width, height=height, rgb=b"",
    )  # fmt: skip
    submitted = JobSubmitted(job_id=run.job_id, created_at=0, job=JOB)
    planned = Planned(
        submitted=submitted, run=run, expect=Expect(0), left_s=0, recipe="", made=False, load_s=0, cropped=0.0
    )
    attempt = Attempt(NOBODY, planned, Pace())
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_tell(attempt))
        tasks.create_task(desk.run(run, attempt.passed, attempt.failed, attempt.took))
        steps_ms = await asyncio.to_thread(_loop, desk, watch, setup.count)
        attempt.end()
    return steps_ms


def _loop(desk: Desk, watch: Watch, rounds: int) -> list[float]:
    steps_ms = _pass_steps(Group(desk, watch), rounds)
    desk.report(Left())
    return steps_ms


async def _tell(attempt: Attempt) -> None:
    """Make each report the bytes that would be published."""
    while not attempt.over.is_set():
        await attempt.news.wait()
        attempt.news.clear()
        while attempt.reports:
            wire.encode(attempt.reports.popleft())


def _pass_steps(group: Group, rounds: int) -> list[float]:
    """Milliseconds of a step in each round, after one that does not count."""
    group.next_command()
    steps_ms: list[float] = []
    for _ in range(1 + rounds):
        began = time.monotonic()
        for step in range(1, STEPS + 1):
            group.boundary("denoise", step)
        steps_ms.append(1000 * (time.monotonic() - began) / STEPS)
    return steps_ms[1:]
