"""Where the threads of rank 0 meet: its asyncio half (`lead`) hands in jobs, its loop half (`worker`) takes them.

Neither half ever waits for the other without a limit, and neither touches the other's state. What the watch sees of the
ranks comes in here too.
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
from inference.ranks.monitor import LastWords
from inference.ranks.worker import Outcome
from inference.wan.snapshot import Halfway

IDLE_S = 1.0
COMMANDS_MAX = 2
CPU = torch.device("cpu")


class Desk:
    """The first group of methods is for the asyncio half, the second for the loop's thread, the third for the watch's.

    `down` is set once the group is to end, with the process not far behind. A job's state is taken when the last one
    is `checkpoint_s` old and `kept`.
    """

    def __init__(self, checkpoint_s: float = math.inf) -> None:
        self._checkpoint_s = checkpoint_s
        self._taken_at, self._keeping = 0.0, False
        self._leave_softly = False
        self._loop = asyncio.get_running_loop()
        self._commands: queue.Queue[Command] = queue.Queue(COMMANDS_MAX)
        self._halt = threading.Event()
        self._outcome: asyncio.Future[Outcome] = self._loop.create_future()
        self._on_boundary: Callable[[Stage, int], None] = lambda _stage, _step: None
        self._on_words: Callable[[LastWords], None] = lambda _words: None
        self._on_halfway: Callable[[Halfway], None] = lambda _halfway: None
        self.down = asyncio.Event()

    async def run(
        self,
        command: Run,
        on_boundary: Callable[[Stage, int], None],
        on_words: Callable[[LastWords], None],
        on_halfway: Callable[[Halfway], None],
    ) -> Outcome:
        """Have the job generated.

        In this thread, `on_boundary` is called as it moves on, `on_words` as a rank fails, and `on_halfway` with what
        the job could go on from another time, on the CPU; it is to be answered by `kept`.
        """
        self._halt.clear()
        self._leave_softly = self._keeping = False
        self._taken_at = time.monotonic()
        self._outcome = self._loop.create_future()
        self._on_boundary, self._on_words, self._on_halfway = on_boundary, on_words, on_halfway
        self._commands.put_nowait(command)
        return await self._outcome

    def halt(self, *, softly: bool = False) -> None:
        """Leave the running job at its next boundary; softly, at the next one where its state has been taken."""
        self._leave_softly = softly
        self._halt.set()

    def kept(self) -> None:
        """The last state that was taken is safe, or lost: another one may be taken."""
        self._keeping = False

    def stop(self) -> None:
        """Have every rank leave its loop once the job is done."""
        self._commands.put_nowait(Stop())

    # -- the loop's thread -----------------------------------------------------------------------------------------

    def next_command(self) -> Command:
        try:
            return self._commands.get(timeout=IDLE_S)
        except queue.Empty:
            return Idle()

    def passed(self, stage: Stage, step: int) -> bool:
        self._loop.call_soon_threadsafe(self._on_boundary, stage, step)
        waits = self._leave_softly and stage == "denoise" and step > 0
        return self._halt.is_set() and not waits

    def offered(self, take: Callable[[], Halfway]) -> None:
        """Take the state where it is time to. The step loop waits for no more than the copy to the CPU."""
        due = self._leave_softly or time.monotonic() - self._taken_at >= self._checkpoint_s
        if due and not self._keeping:
            self._keeping, self._leave_softly, self._taken_at = True, False, time.monotonic()
            self._loop.call_soon_threadsafe(self._on_halfway, take().to(CPU))

    def report(self, outcome: Outcome) -> None:
        self._loop.call_soon_threadsafe(self._outcome.set_result, outcome)

    # -- the watch's thread ----------------------------------------------------------------------------------------

    def heard(self, words: LastWords) -> None:
        self._loop.call_soon_threadsafe(lambda: self._on_words(words))

    def goes_down(self, _why: str) -> None:
        self._loop.call_soon_threadsafe(self.down.set)
