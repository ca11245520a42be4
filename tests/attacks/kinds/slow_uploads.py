"""Slow loris by bodies: hundreds of submissions begun, of each of which a byte comes every 20 s."""

import asyncio

from tests.attacks.pressure import Pressure
from tests.services.edge.talk import post

TITLE = "999 slow uploads"
HOLD_S = 60.0
COUNT = 999
BYTE_EVERY_S = 20.0
HEAD = post("/video/submit", "Content-Length: 1000000") + b"{"


async def press(pressure: Pressure) -> None:
    writers: list[asyncio.StreamWriter] = []
    for _ in range(COUNT):
        _, writer = await pressure.connect()
        writer.write(HEAD)
        writers.append(writer)
    pressure.stands()
    while True:
        await asyncio.sleep(BYTE_EVERY_S)
        for writer in writers:
            if not writer.is_closing():
                writer.write(b" ")
