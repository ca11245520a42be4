"""300 connections, each with 5,000 pipelined requests of a large file, of which no answer is read."""

import asyncio
import socket
from contextlib import suppress

from tests.attacks.pressure import Pressure

TITLE = "300 × 5,000 pipelined requests, nothing read"
HOLD_S = 20.0
COUNT = 300
REQUESTS = b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: a\r\n\r\n" * 5000
RECEIVE_BYTES = 4096
SEND_WITHIN_S = 2.0


async def press(pressure: Pressure) -> None:
    loop = asyncio.get_running_loop()
    deaf: list[socket.socket] = []

    async def send() -> None:
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        one.setblocking(False)
        deaf.append(one)
        with suppress(OSError):
            await loop.sock_connect(one, (pressure.host, pressure.port))
            async with asyncio.timeout(SEND_WITHIN_S):
                await loop.sock_sendall(one, REQUESTS)

    await asyncio.gather(*(send() for _ in range(COUNT)))
    pressure.stands()
    await loop.create_future()
