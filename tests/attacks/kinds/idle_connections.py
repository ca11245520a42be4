"""Connections by the thousand that say nothing, opened again as soon as the edge closes them."""

import asyncio
from contextlib import suppress

from tests.attacks.pressure import Pressure

TITLE = "10,000 idle connections, renewed"
HOLD_S = 30.0
COUNT = 10_000
AT_ONCE = 200
PAUSE_S = 5.0


async def press(pressure: Pressure) -> None:
    turns = asyncio.Semaphore(AT_ONCE)
    stands = asyncio.Event()

    async def idle() -> None:
        while True:
            with suppress(OSError):
                async with turns:
                    reader, writer = await pressure.connect()
                try:
                    await reader.read(-1)
                finally:
                    writer.transport.abort()
            await asyncio.sleep(PAUSE_S)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(COUNT):
            tasks.create_task(idle())
        with suppress(TimeoutError):
            await asyncio.wait_for(stands.wait(), 20)
        pressure.stands()
