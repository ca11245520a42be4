"""Slow loris by bodies, begun again as soon as the edge closes one."""

import asyncio
from contextlib import suppress

from tests.attacks.kinds.slow_uploads import HEAD
from tests.attacks.pressure import Pressure

TITLE = "999 slow uploads, each begun again when it is closed"
HOLD_S = 60.0
COUNT = 999
BYTE_EVERY_S = 5.0
PAUSE_S = 0.5


async def press(pressure: Pressure) -> None:
    async with asyncio.TaskGroup() as tasks:
        for _ in range(COUNT):
            tasks.create_task(upload(pressure))
        await asyncio.sleep(2)
        pressure.stands()


async def upload(pressure: Pressure) -> None:
    while True:
        with suppress(OSError):
            reader, writer = await pressure.connect()
            writer.write(HEAD)
            trickling = asyncio.ensure_future(trickle(writer))
            try:
                await reader.read(-1)
            finally:
                trickling.cancel()
                writer.transport.abort()
        await asyncio.sleep(PAUSE_S)


async def trickle(writer: asyncio.StreamWriter) -> None:
    while not writer.is_closing():
        await asyncio.sleep(BYTE_EVERY_S)
        writer.write(b" ")
