"""Where the threads of rank 0 meet: its asyncio half (`lead`) hands in jobs, its loop half (`worker`) takes them.

Neither half ever waits for the other without a limit, and neither touches the other's state. What the watch sees of the
ranks comes in here too.
"""

import asyncio
import queue
import threading
from collections.abc import Callable

from contracts.events import Stage
from inference.commands import Command, Idle, Run, Stop
from inference.watch import LastWords
from inference.worker import Outcome

IDLE_S = 1.0
COMMANDS_MAX = 2


class Desk:
    """The first group of methods is for the asyncio half, the second for the loop's thread, the third for the watch's.

    `down` is set once the group is to end, with the process not far behind.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._commands: queue.Queue[Command] = queue.Queue(COMMANDS_MAX)
        self._halt = threading.Event()
        self._outcome: asyncio.Future[Outcome] = self._loop.create_future()
        self._on_boundary: Callable[[Stage, int], None] = lambda _stage, _step: None
        self._on_words: Callable[[LastWords], None] = lambda _words: None
        self.down = asyncio.Event()

    async def run(
        self, command: Run, on_boundary: Callable[[Stage, int], None], on_words: Callable[[LastWords], None]
    ) -> Outcome:
        """Have the job generated; `on_boundary` is called in this thread as it moves on, `on_words` as a rank fails."""
        self._halt.clear()
        self._outcome = self._loop.create_future()
        self._on_boundary, self._on_words = on_boundary, on_words
        self._commands.put_nowait(command)
        return await self._outcome

    def halt(self) -> None:
        """Leave the running job at its next boundary."""
        self._halt.set()

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
        return self._halt.is_set()

    def report(self, outcome: Outcome) -> None:
        self._loop.call_soon_threadsafe(self._outcome.set_result, outcome)

    # -- the watch's thread ----------------------------------------------------------------------------------------

    def heard(self, words: LastWords) -> None:
        self._loop.call_soon_threadsafe(lambda: self._on_words(words))

    def goes_down(self, _why: str) -> None:
        self._loop.call_soon_threadsafe(self.down.set)
