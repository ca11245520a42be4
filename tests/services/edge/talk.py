"""A client that speaks bytes to an edge, well or badly, and an edge with short limits: for tests of connections."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from tests.kit import auth
from tests.kit.broker import Broker
from tests.kit.edge import Edge

SHORT_S = 0.6
"""The time limits of an `Impatient` edge."""
CUT_WITHIN_S = 10 * SHORT_S
PAUSE_S = 0.1
PIECE = 1024 * 1024
ONE_HOST = "a request must have exactly one Host header"

# `python -m services.edge`, with shorter limits.
IMPATIENT = f"""
import sys, uvloop
from contracts.process import env, start
from services.edge import __main__ as edge
from services.edge.http import server
from services.edge.http.limits import HttpLimits
server.DRAIN_S = {SHORT_S}
limits = HttpLimits(
    handshake_within_s={SHORT_S},
    head_within_s={SHORT_S},
    body_silence_s_max={SHORT_S},
    unread_within_s={SHORT_S},
    linger_s={SHORT_S},
)
start.configure("edge")
sys.exit(0 if uvloop.run(edge.serve(env.read(edge.Settings), limits)) else 1)
"""


class Impatient(Edge):
    """A real edge whose time limits are `SHORT_S`."""

    def __init__(self, folder: Path, broker: Broker, **variables: str) -> None:
        super().__init__(folder, broker, **{"KEEP_ALIVE": "1", **variables})
        self._arguments = ["-c", IMPATIENT]

    @property
    def peak_kb(self) -> int:
        """Return the most memory that the process ever held."""
        assert self._running is not None
        status = Path(f"/proc/{self._running.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0])


class Talk:
    """One connection to the edge, with the verbs of a client that misuses HTTP. It lives for a block of `talk`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def say(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    @property
    def peer_certificate(self) -> bytes | None:
        """Return the edge's certificate; None without TLS."""
        seen = self._writer.get_extra_info("ssl_object")
        return None if seen is None else seen.getpeercert(binary_form=True)

    async def flood(self, piece: bytes, count: int) -> None:
        with suppress(ConnectionError):
            for _ in range(count):
                await self.say(piece)

    async def trickle(self) -> bytes:
        """Send a byte now and then until the edge closes, and return all that came (slow loris)."""
        heard = b""
        async with asyncio.timeout(CUT_WITHIN_S):
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(PAUSE_S):
                        if (part := await self._read()) == b"":
                            return heard
                        heard += part
                with suppress(ConnectionError):
                    await self.say(b"x")

    async def _read(self) -> bytes:
        try:
            return await self._reader.read(PIECE)
        except ConnectionError:
            return b""

    async def rest(self) -> bytes:
        """Return all that comes until the edge closes its side."""
        heard = b""
        async with asyncio.timeout(CUT_WITHIN_S):
            while part := await self._read():
                heard += part
        return heard

    async def until(self, words: bytes) -> bytes:
        """Return what comes up to these words."""
        async with asyncio.timeout(CUT_WITHIN_S):
            return await self._reader.readuntil(words)

    async def answer(self) -> tuple[int, Any]:
        """Return status and body of the next answer; the connection stays open."""
        async with asyncio.timeout(CUT_WITHIN_S):
            head = await self._reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split()[0])
            return parsed(head + await self._reader.readexactly(length))


@asynccontextmanager
async def talk(edge: Edge, **options: Any) -> AsyncGenerator[Talk, None]:
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port, **options)
    try:
        yield Talk(reader, writer)
    finally:
        writer.transport.abort()


async def ask(edge: Edge, request: bytes) -> bytes:
    """Send these bytes on a new connection, and return all that comes back."""
    async with talk(edge) as connection:
        await connection.say(request)
        return await connection.rest()


def parsed(answer: bytes) -> tuple[int, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body) if b"json" in head else body


def get(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", *(headers or ["Host: a"]), *auth.LINES, "", ""]).encode()


def post(path: str, *headers: str, content_type: str = "application/json") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: a", f"Content-Type: {content_type}", *auth.LINES, *headers, "", ""]
    return "\r\n".join(lines).encode()


async def alive(edge: Edge) -> bool:
    assert edge.alive, edge.text
    try:
        return parsed(await ask(edge, get("/livez", "Host: a", "Connection: close")))[0] == 200
    except OSError:
        return False
