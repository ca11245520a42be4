"""Rank 0's asyncio half with a script in place of the ranks; broker, stores and bridge are real."""

import asyncio
import io
import threading
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import torch
import torch.distributed as dist
from msgspec.structs import replace
from PIL import Image

from contracts import subjects, wire
from contracts.broker import Bus, Delivery
from contracts.events import AnyEvent, JobSubmitted
from contracts.job import input_name
from contracts.job_log import JobLog
from contracts.stage_times import STAGES
from contracts.stores import Folder
from inference.leader.attempt import Attempt
from inference.leader.attempt_runner import AttemptRunner
from inference.leader.bridge import ThreadBridge
from inference.leader.context import RunnerContext
from inference.leader.lease import Lease
from inference.leader.limits import Limits
from inference.leader.pace import Pace
from inference.ranks.commands import Run, Stop
from inference.ranks.monitor import GroupMonitor
from inference.ranks.worker import Failed, Generated, Left, Outcome
from inference.wan.guidance import Conditions
from inference.wan.snapshot import DenoisingSnapshot
from inference.wan.solvers import Memory
from tests.contracts.test_plan import cluster
from tests.kit.builders import ID, submitted

LIMITS = Limits(task_timeout_s=60, stage_timeout_s=60, stage_floor_s=1, room_bytes=0, max_attempts=3)
CLUSTER = replace(cluster("one", 2), sizes=["64*48"], default_size="64*48")
ACK_WAIT_S = 30.0
DELIVERED_WITHIN_S = 30.0
FRAMES = 25
STEP_S = 0.05

Script = Callable[[ThreadBridge, Run], Outcome]
"""What the ranks do with a job; called in the compute thread."""


def generate(bridge: ThreadBridge, _run: Run) -> Outcome:
    """Pass through every stage at once, and return a grey video."""
    for stage in STAGES:
        bridge.report_boundary(stage, 0)
    return Generated(torch.zeros(3, FRAMES, 48, 64))


def snapshot(step: int) -> DenoisingSnapshot:
    given = Conditions(torch.ones(1, 4, 8), None, torch.ones(1, 2, 8), torch.ones(1, 20, 3, 6, 8))
    return DenoisingSnapshot(step, torch.ones(1, 16, 3, 6, 8), Memory((), None, {}), given)


class RankZero:
    """All that attempts share, over the stores in `folder`."""

    def __init__(self, link: Bus, folder: Path, limits: Limits) -> None:
        self.link, self.log = link, JobLog(link, CLUSTER.instance)
        self.videos, self.scratch = Folder(folder / "videos"), Folder(folder / "scratch")
        self.monitor_store = dist.HashStore()  # pyright: ignore[reportPrivateImportUsage]
        self.bridge = ThreadBridge(checkpoint_s=0)
        self.limit(limits)

    def limit(self, limits: Limits) -> None:
        """Make the shared parts, with these limits."""
        self.context = RunnerContext.make(
            broker=self.link,
            videos=self.videos,
            scratch=self.scratch,
            bridge=self.bridge,
            monitor=GroupMonitor(self.monitor_store, 0, 1),
            cluster=CLUSTER,
            limits=limits,
        )

    async def queue_job(self) -> None:
        picture = io.BytesIO()
        Image.new("RGB", (64, 48), "teal").save(picture, "PNG")
        await self.scratch.write(input_name(ID), picture.getvalue())
        await self.link.publish(subjects.job(ID), wire.encode(submitted()), within_s=2)

    async def delivery(self) -> Delivery:
        """Pull the next message of the queue, and wait until there is one."""
        async with asyncio.timeout(DELIVERED_WITHIN_S):
            while True:
                pulled = await self.link.pull(subjects.JOBS_STREAM, subjects.INFERENCE_DURABLE, stop=asyncio.Event())
                if pulled is not None:
                    return pulled

    async def attempt(self, pace: Pace | None = None) -> Attempt:
        """Pull the next message of the queue, and prepare an attempt at its job."""
        delivery = await self.delivery()
        return Attempt(delivery, await self.context.planner.prepare(ID, delivery.data), pace or Pace())

    async def runner(self) -> AttemptRunner:
        return AttemptRunner(await self.attempt(), self.context, ack_wait_s=ACK_WAIT_S)

    def lease(self, attempt: Attempt, *, ack_wait_s: float = ACK_WAIT_S, limits: Limits = LIMITS) -> Lease:
        monitor = self.context.monitor
        return Lease(attempt, self.log, bridge=self.bridge, monitor=monitor, limits=limits, ack_wait_s=ack_wait_s)

    def start(self, runner: AttemptRunner) -> asyncio.Task[None]:
        """Run the attempt in a task, which the caller awaits."""
        return asyncio.create_task(runner.run())

    async def run_next(self, script: Script = generate) -> AttemptRunner:
        """Run an attempt at the next job of the queue to its end."""
        runner = await self.runner()
        async with self.ranks(script):
            await runner.run()
        return runner

    @asynccontextmanager
    async def ranks(self, script: Script) -> AsyncGenerator[None, None]:
        """Have the ranks follow the script for the length of the block."""

        def compute() -> None:
            while not isinstance(command := self.bridge.next_command(), Stop):
                if isinstance(command, Run):
                    self.bridge.deliver_outcome(script(self.bridge, command))

        thread = threading.Thread(target=compute)
        thread.start()
        try:
            yield
        finally:
            self.bridge.stop()
            await asyncio.to_thread(thread.join)

    async def events(self) -> list[AnyEvent]:
        """The job's events, less its submission."""
        stored = await self.link.read(subjects.EVENTS_STREAM, subjects.events_of(ID))
        return [event for event in wire.readable_events(stored) if not isinstance(event, JobSubmitted)]

    async def names(self) -> set[str]:
        """The files of both stores."""
        stores = [(self.videos, ""), (self.scratch, "inputs"), (self.scratch, "checkpoints")]
        return {file.name for store, inside in stores for file in await store.files(inside)}

    async def is_queued(self) -> bool:
        return await self.link.last(subjects.JOBS_STREAM, subjects.job_in_any_lane(ID)) is not None

    @property
    def aborted(self) -> str:
        """Why the group was aborted, or nothing."""
        key = "monitor/abort"
        return self.monitor_store.get(key).decode() if self.monitor_store.check([key]) else ""


def step_until_left(bridge: ThreadBridge, run: Run) -> Outcome:
    """Do one step after the other, offering a snapshot of each, until rank 0 wants the job left."""
    for step in range(run.resumed_from_step + 1, run.job.infer_steps + 1):
        bridge.offer_snapshot(lambda: snapshot(step))  # noqa: B023  # it is called at once
        if bridge.report_boundary("denoise", step):
            return Left()
        time.sleep(STEP_S)
    return Failed("nobody wanted the job left")
