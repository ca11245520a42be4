"""Measures what a step costs beside the model: the ranks' vote, and rank 0's report of the step.

`worker` calls `measure` on every rank. Rank 0 runs the classes of production in the threads of production, up to the
encoded event, which no broker takes.
"""

import asyncio
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch.distributed as dist
from torch.distributed.distributed_c10d import Store

from contracts import wire
from contracts.broker import Expect
from contracts.events import JobSubmitted
from contracts.job import Job, parse_size
from contracts.plan import Plan
from inference.leader.attempt import Attempt
from inference.leader.bridge import ThreadBridge
from inference.leader.pace import Pace
from inference.leader.planner import PreparedAttempt
from inference.ranks.broadcast import Group
from inference.ranks.commands import Run
from inference.ranks.monitor import GroupMonitor
from inference.ranks.worker import Left
from ops.bench.report.row import Aim, Row, Series
from ops.bench.setup import PROMPT, Setup

STEPS = 100  # in a round; the most that a client may ask for
A_MILLISECOND = Aim("≤", 1.0)
RANKS_OF_THE_AIM = 2
JOB = Job(prompt=PROMPT, num_frames=81, seed=1, infer_steps=STEPS)
NOBODY: Any = SimpleNamespace(traceparent=None, at=0.0)  # acknowledges nothing: there is no message


def measure(setup: Setup, store: Store) -> Iterator[Row]:
    """Yield one row on rank 0 and none on the others. A collective: every rank calls this."""
    rank, ranks = dist.get_rank(), dist.get_world_size()
    with GroupMonitor(store, rank, ranks).running() as monitor:
        if rank != 0:
            _pass_steps(Group(None, monitor), setup.count)
            return
        over = Series(f"{ranks} ranks", asyncio.run(_lead(monitor, setup)))
    aim = A_MILLISECOND if ranks == RANKS_OF_THE_AIM else None
    yield Row(part="control", what="vote and report of a step", unit="ms", over=over, aim=aim)


async def _lead(monitor: GroupMonitor, setup: Setup) -> list[float]:
    """Run rank 0's asyncio half, with its compute half in a second thread; return milliseconds of a step by rounds.

    Every other rank calls `_pass_steps` meanwhile.
    """
    bridge = ThreadBridge()
    width, height = parse_size(setup.size)
    run = Run(
        job_id="0" * 32, attempt=1, job=JOB, plan=Plan(cfg_size=1, ulysses_size=1),
        width=width, height=height, rgb=b"",
    )  # fmt: skip
    submitted = JobSubmitted(job_id=run.job_id, created_at=0, job=JOB)
    prepared = PreparedAttempt(
        submitted=submitted, run=run, expect=Expect(0), left_s=0, job_fingerprint="", video_exists=False,
        load_s=0, cropped=0.0,
    )  # fmt: skip
    attempt = Attempt(NOBODY, prepared, Pace())
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_tell(attempt))
        tasks.create_task(
            bridge.run_on_ranks(
                run,
                on_boundary=attempt.boundary_reached,
                on_part=attempt.part_done,
                on_failure=attempt.failure_reported,
                on_snapshot=attempt.snapshot_ready,
                on_preview=attempt.preview_ready,
            )
        )
        steps_ms = await asyncio.to_thread(_loop, bridge, monitor, setup.count)
        attempt.finish()
    return steps_ms


def _loop(bridge: ThreadBridge, monitor: GroupMonitor, rounds: int) -> list[float]:
    """Pass the steps, and report that rank 0 has left the job; return milliseconds of a step by rounds."""
    steps_ms = _pass_steps(Group(bridge, monitor), rounds)
    bridge.deliver_outcome(Left())
    return steps_ms


async def _tell(attempt: Attempt) -> None:
    """Encode each report as it would be published, until the attempt is over."""
    while not attempt.finished.is_set():
        await attempt.reports_waiting.wait()
        attempt.reports_waiting.clear()
        while attempt.reports:
            wire.encode(attempt.reports.popleft())


def _pass_steps(group: Group, rounds: int) -> list[float]:
    """Return the milliseconds of a step in each round; a first round is run that does not count.

    A collective: every rank calls this.
    """
    group.broadcast_next_command()
    steps_ms: list[float] = []
    for _ in range(1 + rounds):
        began = time.monotonic()
        for step in range(1, STEPS + 1):
            group.vote_at_boundary("denoise", step)
        steps_ms.append(1000 * (time.monotonic() - began) / STEPS)
    return steps_ms[1:]
