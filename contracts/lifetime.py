"""A process's end: one Event, set by SIGTERM or SIGINT, and bounded waits on it."""

import asyncio
import signal
from contextlib import suppress


def stop_on_signals() -> asyncio.Event:
    """An Event that SIGTERM or SIGINT to this process sets; for the running loop of the main thread."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def leave_signals_to_others() -> None:
    """For a process that another one tells to stop: a signal to the whole group must not end it first."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


async def wait(event: asyncio.Event, *, within_s: float) -> bool:
    """Wait for an event at most so long; whether it is set."""
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), within_s)
    return event.is_set()


async def first_of(*events: asyncio.Event) -> asyncio.Event:
    """Wait until one of these is set, and return it."""
    waits = {asyncio.ensure_future(event.wait()): event for event in events}
    try:
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        return waits[done.pop()]
    finally:
        for wait in waits:
            wait.cancel()
