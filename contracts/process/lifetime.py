"""The end of a process: an Event that SIGTERM, SIGINT or SIGHUP sets, bounded waits on it, and an end by a deadline.

Every long-running `__main__` stops this way: it finishes the work that it has begun, between bounded waits.
"""

import asyncio
import os
import signal
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

from contracts.process import log

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""The signals that mean: finish the work that has begun, and end."""
SAY_WITHIN_S = 0.5


def stop_on_signals(*, end_within_s: float | None = None) -> asyncio.Event:
    """Return an Event that SIGTERM, SIGINT or SIGHUP to this process sets; for the running loop of the main thread.

    With `end_within_s` the process is gone that long after the first signal, whatever hangs, then with exit code 1.
    """
    stop = asyncio.Event()

    def on_signal() -> None:
        if end_within_s is not None and not stop.is_set():
            end_within(end_within_s, code=1)
        stop.set()

    for number in SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    return stop


def end_within(seconds: float, *, code: int) -> None:
    """Return at once, and end the process with this exit code unless it has ended by itself within this time.

    That end flushes and awaits nothing, and cannot be called off. Python itself waits at its end for every thread, and
    a thread cannot be cancelled: one that reads from a network mount which has gone away would hold the process for
    ever.
    """

    def say() -> None:
        log.get().warning("end_not_awaited", seconds=seconds, threads=threading.active_count())

    def end() -> None:
        saying = threading.Thread(target=say, daemon=True)  # a reader of the log may hang too
        saying.start()
        saying.join(SAY_WITHIN_S)
        os._exit(code)

    clock = threading.Timer(seconds, end)
    clock.daemon = True
    clock.start()


def leave_signals_to_others() -> None:
    """Ignore `SIGNALS` in this process from now on, which another process tells to stop.

    A signal to the process group must not end it first. Call it from the main thread.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@asynccontextmanager
async def beside(work: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> AsyncGenerator[None, None]:
    """Do `work` for the length of the block, in a task of its own. It gets an Event that is set when the block ends.

    It is cancelled then. If it fails before, the block is cancelled, and its error comes in an `ExceptionGroup`.
    """
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        working = tasks.create_task(work(stop))
        try:
            yield
        finally:
            stop.set()
            working.cancel()


async def wait_until_set(event: asyncio.Event, *, within_s: float) -> bool:
    """Wait for an event for at most `within_s`, and return whether it is set."""
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), within_s)
    return event.is_set()


async def wait_for_first(*events: asyncio.Event) -> asyncio.Event:
    """Wait without limit until one of these events is set, and return it; if several are set, any of them."""
    waits = {asyncio.ensure_future(event.wait()): event for event in events}
    try:
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        return waits[done.pop()]
    finally:
        for wait in waits:
            wait.cancel()
