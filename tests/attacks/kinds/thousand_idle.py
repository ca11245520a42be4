"""A thousand connections that ask once in a while, and are kept alive in between."""

import asyncio

from tests.attacks.pressure import Pressure

TITLE = "1,000 connections kept alive"
HOLD_S = 20.0
COUNT = 1000
ASK_EVERY_S = 5.0


async def press(pressure: Pressure) -> None:
    writers: list[asyncio.StreamWriter] = []
    for _ in range(COUNT):
        _, writer = await pressure.connect()
        writer.write(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
        writers.append(writer)
    pressure.stands()
    while True:
        for writer in writers:
            await asyncio.sleep(ASK_EVERY_S / COUNT)
            if not writer.is_closing():
                writer.write(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
