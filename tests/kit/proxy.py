"""A TCP proxy between a process of ours and the broker: tests cut, delay or reset its connections."""

import asyncio
import socket
import struct
from contextlib import suppress
from typing import Literal

CHUNK_BYTES = 64 * 1024
POLL_S = 0.02
DELAY_S = 0.5

Mode = Literal["pass", "drop", "half", "delay"]
"""`drop` refuses and cuts every connection; `half` keeps the broker's bytes back; `delay` keeps them half a second."""


class Proxy:
    """A TCP proxy before the broker, with one fault at a time. Listens from `start` to `stop`."""

    def __init__(self, broker_port: int) -> None:
        self._broker_port = broker_port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.mode: Mode = "pass"
        self.hits = 0
        """How many connections were cut, or pieces held up: whether the fault was felt."""

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await self._server.wait_closed()

    def set(self, mode: Mode) -> None:
        self.mode = mode
        if mode == "drop":
            self.cut()

    def cut(self) -> None:
        """End every connection with a reset."""
        for writer in list(self._writers):
            self.hits += 1
            raw = writer.get_extra_info("socket")
            if raw is not None:
                with suppress(OSError):
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mode == "drop":
            self.hits += 1
            writer.close()
            return
        try:
            upstream = await asyncio.open_connection("127.0.0.1", self._broker_port)
        except OSError:
            writer.close()
            return
        both = {writer, upstream[1]}
        self._writers |= both
        ways = [
            asyncio.ensure_future(self._copy(reader, upstream[1], held=False)),
            asyncio.ensure_future(self._copy(upstream[0], writer, held=True)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        self._writers -= both
        for each in both:
            each.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, held: bool) -> None:
        with suppress(OSError):
            while chunk := await reader.read(CHUNK_BYTES):
                while held and self.mode == "half":
                    self.hits += 1
                    await asyncio.sleep(POLL_S)
                if self.mode == "delay":
                    self.hits += 1
                    await asyncio.sleep(DELAY_S)
                writer.write(chunk)
                await writer.drain()
