"""The end of the state service, whatever hangs."""

import asyncio
import signal
import time
from pathlib import Path

import pytest

from contracts.broker import Bus
from tests.kit.broker import Broker
from tests.kit.process import Process
from tests.kit.waiting import eventually

ENDS_WITHIN_S = 10

# `python -m services.state`, on a store that hangs from the first look on, as a network mount does that has gone away.
HANGING = """
import asyncio, sys, time, uvloop
from contracts.process import env, start
from contracts.stores import Folder
from services.state import __main__ as state
async def files(self, inside=""): return await asyncio.to_thread(time.sleep, 60)
assert hasattr(Folder, "files") and hasattr(state, "END_WITHIN_S")
Folder.files, state.END_WITHIN_S = files, 1.0
start.configure("state")
sys.exit(0 if uvloop.run(state.serve(env.read(state.Settings))) else 1)
"""


def state(folder: Path, broker: Broker, *arguments: str) -> Process:
    stores = {"VIDEO_STORE_URL": str(folder / "videos"), "SCRATCH_STORE_URL": str(folder / "scratch")}
    return Process(list(arguments), folder / "state.log", **broker.environment, **stores).start()


async def test_a_store_that_hangs_does_not_hold_the_state_service(tmp_path: Path, broker: Broker, link: Bus) -> None:
    process = state(tmp_path, broker, "-c", HANGING)
    await eventually(lambda: "state_ready" in process.text, within_s=20)
    began = time.monotonic()
    await asyncio.to_thread(process.stop)
    assert time.monotonic() - began < ENDS_WITHIN_S


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_a_broker_that_is_away_does_not_hold_the_state_service(
    tmp_path: Path, broker: Broker, link: Bus, number: signal.Signals
) -> None:
    process = state(tmp_path, broker, "-m", "services.state")
    await eventually(lambda: "state_ready" in process.text, within_s=20)
    broker.send(signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert await asyncio.to_thread(process.stop, number) == 0
        assert time.monotonic() - began < ENDS_WITHIN_S
    finally:
        broker.send(signal.SIGCONT)
