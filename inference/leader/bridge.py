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

from contracts.events import Stage
from inference.ranks.commands import Command, Idle, Run, Stop
from inference.ranks.monitor import FailureReport
from inference.ranks.worker import Outcome
from inference.wan.snapshot import DenoisingSnapshot

IDLE_S = 1.0
COMMANDS_MAX = 2
CPU = torch.device("cpu")


class ThreadBridge:
    """Rank 0's hooks into the group of ranks; one for the life of the process.

    `aborting` is set once the group is to end, with the process not far behind. A snapshot of the running job is made
    when the last one is `checkpoint_s` old and saved.
    """

    def __init__(self, checkpoint_s: float = math.inf) -> None:
        self._checkpoint_s = checkpoint_s
        self._snapshot_at, self._saving = 0.0, False
        self._save_first = False
        self._loop = asyncio.get_running_loop()
        self._commands: queue.Queue[Command] = queue.Queue(COMMANDS_MAX)
        self._leave = threading.Event()
        self._outcome: asyncio.Future[Outcome] = self._loop.create_future()
        self._on_boundary: Callable[[Stage, int], None] = lambda _stage, _step: None
        self._on_failure: Callable[[FailureReport], None] = lambda _failure: None
        self._on_snapshot: Callable[[DenoisingSnapshot], None] = lambda _snapshot: None
        self.aborting = asyncio.Event()

    # -- called by asyncio -----------------------------------------------------------------------------------------

    async def run(
        self,
        command: Run,
        on_boundary: Callable[[Stage, int], None],
        on_failure: Callable[[FailureReport], None],
        on_snapshot: Callable[[DenoisingSnapshot], None],
    ) -> Outcome:
        """Have the ranks generate the job, and return how that came out.

        Meanwhile, and in this thread: `on_boundary` is called at every boundary, `on_failure` when a rank reports a
        failure, and `on_snapshot` with a snapshot on the CPU. The caller answers each snapshot by `snapshot_saved`.
        """
        self._leave.clear()
        self._save_first = self._saving = False
        self._snapshot_at = time.monotonic()
        self._outcome = self._loop.create_future()
        self._on_boundary, self._on_failure, self._on_snapshot = on_boundary, on_failure, on_snapshot
        self._commands.put_nowait(command)
        return await self._outcome

    def leave(self, *, save_first: bool = False) -> None:
        """Have the ranks leave the running job at its next boundary; with `save_first`, the next with a snapshot."""
        self._save_first = save_first
        self._leave.set()

    def snapshot_saved(self) -> None:
        """Note that the last snapshot is saved, or lost: the next one may be made."""
        self._saving = False

    def stop(self) -> None:
        """Have every rank leave its loop once the job is done."""
        self._commands.put_nowait(Stop())

    # -- called by the compute thread ------------------------------------------------------------------------------

    def next_command(self) -> Command:
        """Return the next command, or `Idle` if none comes within `IDLE_S`."""
        try:
            return self._commands.get(timeout=IDLE_S)
        except queue.Empty:
            return Idle()

    def boundary(self, stage: Stage, step: int) -> bool:
        """Pass on that the job has reached a boundary, and return whether to leave it here."""
        self._loop.call_soon_threadsafe(self._on_boundary, stage, step)
        waits = self._save_first and stage == "denoise" and step > 0
        return self._leave.is_set() and not waits

    def offer_snapshot(self, make_snapshot: Callable[[], DenoisingSnapshot]) -> None:
        """Make a snapshot if one is due. The step loop waits for no more than the copy to the CPU."""
        due = self._save_first or time.monotonic() - self._snapshot_at >= self._checkpoint_s
        if due and not self._saving:
            self._saving, self._save_first, self._snapshot_at = True, False, time.monotonic()
            self._loop.call_soon_threadsafe(self._on_snapshot, make_snapshot().to(CPU))

    def report(self, outcome: Outcome) -> None:
        """Pass on how the job came out: `run` returns it."""
        self._loop.call_soon_threadsafe(self._outcome.set_result, outcome)

    # -- called by the monitor's thread ----------------------------------------------------------------------------

    def failure_reported(self, failure: FailureReport) -> None:
        """Pass on that a rank cannot go on with its job."""
        self._loop.call_soon_threadsafe(lambda: self._on_failure(failure))

    def group_aborts(self, _why: str) -> None:
        """Set `aborting`."""
        self._loop.call_soon_threadsafe(self.aborting.set)
