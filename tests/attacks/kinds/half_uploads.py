"""A hundred uploads of 28 MB that stop half-way and are held."""

import asyncio

from tests.attacks.bodies import submission
from tests.attacks.pressure import Pressure

TITLE = "100 half uploads of 14 MB, held"
HOLD_S = 30.0
COUNT = 100
BYTES = 28_000_000


async def press(pressure: Pressure) -> None:
    half = submission(b" " * BYTES)[: BYTES // 2]
    held: list[asyncio.StreamWriter] = []

    async def send() -> None:
        _, writer = await pressure.connect()
        held.append(writer)
        writer.write(half)
        await writer.drain()

    sending = [asyncio.create_task(send()) for _ in range(COUNT)]
    pressure.stands()
    await asyncio.gather(*sending)
    await asyncio.get_running_loop().create_future()
