"""How a process ends: by which signals, and in time whatever hangs."""

import signal
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from contracts.process.lifetime import SIGNALS
from tests.kit.process import Process
from tests.kit.waiting import eventually

ENDS_WITHIN_S = 10

IN_ORDER = """
import asyncio, sys
from contracts.process import lifetime
async def main():
    stop = lifetime.stop_on_signals()
    print("ready", flush=True)
    await stop.wait()
    print("in order", flush=True)
asyncio.run(main())
"""

HANGING = """
import asyncio, sys, time, uvloop
from contracts.process import lifetime
from contracts.process import log
log.configure("demo")
async def main():
    stop = lifetime.stop_on_signals(end_within_s={end_within_s})
    hanging = asyncio.ensure_future(asyncio.to_thread(time.sleep, 60))
    print("ready", flush=True)
    await stop.wait()
    {last}
uvloop.run(main())
"""

OTHERS = """
import time
from contracts.process import lifetime
lifetime.leave_signals_to_others()
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def running(tmp_path: Path) -> Generator[Callable[[str], Process], None, None]:
    started: list[Process] = []

    def start(program: str) -> Process:
        started.append(Process(["-c", program], tmp_path / f"{len(started)}.log").start())
        return started[-1]

    yield start
    for process in started:
        if process.alive:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_process_ends_in_order_on_every_signal_that_means_it(
    running: Callable[[str], Process], number: signal.Signals
) -> None:
    process = running(IN_ORDER)
    await eventually(lambda: "ready" in process.text, within_s=20)
    assert process.stop(number) == 0
    assert "in order" in process.text


async def test_a_process_that_others_tell_to_stop_hears_none_of_them(running: Callable[[str], Process]) -> None:
    process = running(OTHERS)
    await eventually(lambda: "ready" in process.text, within_s=20)
    ignored = ignored_by(process)
    assert all(ignored >> (number - 1) & 1 for number in SIGNALS)


def ignored_by(process: Process) -> int:
    """The kernel's mask of the signals that a process ignores."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("SigIgn:")[2].split()[0], 16)


@pytest.mark.parametrize(
    ("end_within_s", "last", "code"),
    [
        (1.0, "await hanging", 1),
        (60.0, "lifetime.end_within(0.5, code=0)", 0),
        (60.0, "lifetime.end_within(0.5, code=3)", 3),
    ],
    ids=["a wait that hangs", "a thread that hangs", "its exit code"],
)  # fmt: skip
async def test_a_thread_that_hangs_does_not_hold_a_process(
    running: Callable[[str], Process], end_within_s: float, last: str, code: int
) -> None:
    process = running(HANGING.format(end_within_s=end_within_s, last=last))
    await eventually(lambda: "ready" in process.text, within_s=20)
    began = time.monotonic()
    assert process.stop() == code
    assert time.monotonic() - began < ENDS_WITHIN_S
    assert "end_not_awaited" in process.text
