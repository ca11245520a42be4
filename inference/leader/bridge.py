"""The bridge between the threads of rank 0: asyncio hands in jobs, the compute thread takes them and reports back.

`AttemptRunner` calls it from the thread of asyncio, `Group` from the compute thread, `GroupMonitor` from its own. No
thread waits for another without a limit or touches the state of another: what comes from the other two is called in
the thread of asyncio.
"""

import asyncio
import math
import queue
import threading
import time
from collections.abc import Callable

import torch

from contracts.stage_times import Stage
from inference.ranks.commands import Command, Idle, Run, Stop
from inference.ranks.monitor import FailureReport
from inference.ranks.worker import Outcome
from inference.wan.generate import Picture
from inference.wan.snapshot import DenoisingSnapshot

IDLE_S = 1.0
COMMANDS_MAX = 2
PART_EVERY_S = 0.05
"""A stage has hundreds of parts, and small ones take less time than it takes to wake the other thread."""
CPU = torch.device("cpu")
PREVIEW_EVERY_STEPS = 2
PREVIEW_EVERY_S = 0.5
"""A preview is made after every so many steps, but no sooner after the one before it."""


class ThreadBridge:
    """Rank 0's hooks into the group of ranks; one for the life of the process.

    Make it in the thread of asyncio. `aborting` is set once the group is to end, with the process not far behind. A
    snapshot of the running job is due `checkpoint_s` seconds after its beginning, or after the last snapshot.
    """

    def __init__(self, checkpoint_s: float = math.inf) -> None:
        self._checkpoint_s = checkpoint_s
        self._snapshot_at, self._saving = 0.0, False
        self._save_first = False
        self._preview_at = 0.0
        self._loop = asyncio.get_running_loop()
        self._commands: queue.Queue[Command] = queue.Queue(COMMANDS_MAX)
        self._leave = threading.Event()
        self._outcome: asyncio.Future[Outcome] = self._loop.create_future()
        self._on_boundary: Callable[[Stage, int], None] = lambda _stage, _step: None
        self._on_part: Callable[[Stage, float], None] = lambda _stage, _done: None
        self._part_at = 0.0
        self._on_failure: Callable[[FailureReport], None] = lambda _failure: None
        self._on_snapshot: Callable[[DenoisingSnapshot], None] = lambda _snapshot: None
        self._on_preview: Callable[[int, Picture], None] = lambda _step, _picture: None
        self.aborting = asyncio.Event()

    # -- called by asyncio -----------------------------------------------------------------------------------------

    async def run_on_ranks(
        self,
        command: Run,
        *,
        on_boundary: Callable[[Stage, int], None],
        on_part: Callable[[Stage, float], None],
        on_failure: Callable[[FailureReport], None],
        on_snapshot: Callable[[DenoisingSnapshot], None],
        on_preview: Callable[[int, Picture], None],
    ) -> Outcome:
        """Have the ranks generate the job, and return the outcome. For one job at a time.

        Never returns if the group aborts: wait for `aborting` beside it. Meanwhile, and in this thread, `on_boundary`
        is called at every boundary, `on_part` within stages, `on_failure` when a rank reports a failure, `on_preview`
        with a step and the picture of what is expected after it, and `on_snapshot` with a snapshot on the CPU. The
        caller answers each snapshot by `allow_next_snapshot`.
        """
        self._leave.clear()
        self._save_first = self._saving = False
        self._snapshot_at = time.monotonic()
        self._outcome = self._loop.create_future()
        self._on_boundary, self._on_part = on_boundary, on_part
        self._on_failure, self._on_snapshot, self._on_preview = on_failure, on_snapshot, on_preview
        self._commands.put_nowait(command)
        return await self._outcome

    def order_leave(self, *, save_first: bool = False) -> None:
        """Have the ranks leave the running job at its next boundary.

        With `save_first`, `denoise` goes on until a snapshot was made; the last call counts. Without a running job
        nothing happens.
        """
        self._save_first = save_first
        self._leave.set()

    def allow_next_snapshot(self) -> None:
        """Note that the last snapshot is saved, or lost: the next one may be made."""
        self._saving = False

    def stop(self) -> None:
        """Have every rank leave its loop for good once the running job is done. Call it once."""
        self._commands.put_nowait(Stop())

    # -- called by the compute thread ------------------------------------------------------------------------------

    def next_command(self) -> Command:
        """Wait for the next command, and return it, or `Idle` if none comes within `IDLE_S`."""
        try:
            return self._commands.get(timeout=IDLE_S)
        except queue.Empty:
            return Idle()

    def report_boundary(self, stage: Stage, step: int) -> bool:
        """Call `on_boundary` in the thread of asyncio, and return whether to leave the job here."""
        self._loop.call_soon_threadsafe(self._on_boundary, stage, step)
        waits = self._save_first and stage == "denoise" and step > 0
        return self._leave.is_set() and not waits

    def part_done(self, stage: Stage, done: float) -> None:
        """Call `on_part` in the thread of asyncio, unless it was called less than `PART_EVERY_S` ago."""
        now = time.monotonic()
        if now - self._part_at >= PART_EVERY_S:
            self._part_at = now
            self._loop.call_soon_threadsafe(self._on_part, stage, done)

    def offer_snapshot(self, make_snapshot: Callable[[], DenoisingSnapshot]) -> None:
        """If a snapshot is due and none is being saved, make one, and call `on_snapshot` in the thread of asyncio.

        Blocks the step loop only while the snapshot is copied to the CPU.
        """
        due = self._save_first or time.monotonic() - self._snapshot_at >= self._checkpoint_s
        if due and not self._saving:
            self._saving, self._save_first, self._snapshot_at = True, False, time.monotonic()
            self._loop.call_soon_threadsafe(self._on_snapshot, make_snapshot().to(CPU))

    def offer_preview(self, step: int, make_preview: Callable[[], Picture | None]) -> None:
        """If a preview is due after this step, make it, and call `on_preview` in the thread of asyncio."""
        now = time.monotonic()
        if step % PREVIEW_EVERY_STEPS or now - self._preview_at < PREVIEW_EVERY_S:
            return
        self._preview_at = now
        if (picture := make_preview()) is not None:
            self._loop.call_soon_threadsafe(self._on_preview, step, picture)

    def deliver_outcome(self, outcome: Outcome) -> None:
        """Have `run_on_ranks` return this outcome. Call it once for each `Run`."""
        self._loop.call_soon_threadsafe(self._outcome.set_result, outcome)

    # -- called by the monitor's thread ----------------------------------------------------------------------------

    def failure_reported(self, failure: FailureReport) -> None:
        """Call `on_failure` of the running or last job in the thread of asyncio."""
        self._loop.call_soon_threadsafe(lambda: self._on_failure(failure))

    def group_aborts(self, _why: str) -> None:
        """Set `aborting`, in the thread of asyncio. `GroupMonitor` calls it as `on_abort`."""
        self._loop.call_soon_threadsafe(self.aborting.set)
