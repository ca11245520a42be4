"""Sixty clients that name pictures on eight servers which accept a connection and say nothing."""

import asyncio
import itertools

from tests.attacks.bodies import document, press_on, submission
from tests.attacks.pressure import Pressure

TITLE = "60 submissions of pictures on 8 silent servers, again and again"
HOLD_S = 40.0
COUNT = 60
PORT = 18471
HOSTS = [f"127.0.0.{number}" for number in range(2, 10)]
VARIABLES = {"OUTBOUND_ALLOWED_NETWORKS": "127.0.0.0/8", "OUTBOUND_ALLOWED_PORTS": str(PORT)}


async def press(pressure: Pressure) -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        writer.close()

    servers = [await asyncio.start_server(say_nothing, host, PORT) for host in HOSTS]
    hosts = itertools.cycle(HOSTS)
    await press_on(pressure, COUNT, lambda: submission(document(f"http://{next(hosts)}:{PORT}/x.png")))
    del servers
