"""Uploads of 28 MB that are cut half-way, a hundred at once, again and again."""

import asyncio
from contextlib import suppress

from tests.attacks.bodies import submission
from tests.attacks.pressure import Pressure

TITLE = "100 uploads cut after 14 MB, again and again"
COUNT = 100
BYTES = 28_000_000


async def press(pressure: Pressure) -> None:
    half = submission(b" " * BYTES)[: BYTES // 2]

    async def client() -> None:
        while True:
            with suppress(OSError):
                _, writer = await pressure.connect()
                writer.write(half)
                await writer.drain()
                writer.transport.abort()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(COUNT):
            tasks.create_task(client())
        pressure.stands()
