"""HTTP targets for webhooks on addresses of the loopback network, each with a behaviour of its own."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from tests.kit.machine import free_port

PATH = "/hook?token=planted-canary"
"""Its query is `tests.kit.process.PLANTED`, and may stand in no log."""
DRIP_S = 0.5
OK = b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"


class Request(NamedTuple):
    """A request that a target has read, and when."""

    at: float
    headers: dict[str, str]
    body: bytes


Answer = Callable[["Target", asyncio.StreamWriter], Awaitable[None]]


def says(*answers: bytes) -> Answer:
    """Return a behaviour that gives these answers one after the other, and then the last one again and again."""

    async def answer(target: "Target", writer: asyncio.StreamWriter) -> None:
        writer.write(answers[min(len(target.requests), len(answers)) - 1])
        await writer.drain()

    return answer


def status(code: int, *headers: str) -> bytes:
    lines = "".join(f"{header}\r\n" for header in headers)
    return f"HTTP/1.1 {code} As It Is\r\nContent-Length: 0\r\n{lines}\r\n".encode()


async def silent(_: "Target", __: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def slow(_: "Target", writer: asyncio.StreamWriter) -> None:
    """Answer a letter at a time, and never whole."""
    writer.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(DRIP_S)


async def endless(_: "Target", writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"1000\r\n" + b"x" * 0x1000 + b"\r\n")
        await writer.drain()


class Target:
    """One target, and what it was asked."""

    def __init__(self, host: str, port: int, answer: Answer) -> None:
        self.url = f"http://{host}:{port}{PATH}"
        self.requests: list[Request] = []
        self._answer = answer

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            lines = (line.partition(":") for line in head.split("\r\n")[1:])
            headers = {name.lower(): value.strip() for name, _, value in lines}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            self.requests.append(Request(time.monotonic(), headers, body))
            await self._answer(self, writer)
            writer.close()
            await writer.wait_closed()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # cancelled by the end of the test, of which Python 3.11 would print a traceback
        finally:
            writer.transport.abort()

    def of(self, job_id: str) -> list[Request]:
        """Return the requests about one job."""
        return [request for request in self.requests if job_id.encode() in request.body]


class Loopback:
    """Targets on one port of the addresses 127.0.0.2 and on."""

    def __init__(self) -> None:
        self.port = free_port()
        self._servers: list[asyncio.Server] = []
        self._count = 1

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which a process may reach the targets."""
        return {"OUTBOUND_ALLOWED_NETWORKS": "127.0.0.0/8", "OUTBOUND_ALLOWED_PORTS": str(self.port)}

    async def target(self, answer: Answer | None) -> Target:
        """Return a new target; without an answer nobody listens there."""
        self._count += 1
        host = f"127.0.0.{self._count}"
        target = Target(host, self.port, answer or silent)
        if answer is not None:
            self._servers.append(await asyncio.start_server(target.serve, host, self.port))
        return target

    async def close(self) -> None:
        for server in self._servers:
            server.close()


@asynccontextmanager
async def loopback(given: Loopback | None = None) -> AsyncGenerator[Loopback, None]:
    """Targets that last as long as the block, with the tasks of their connections; `given` has its port already."""
    before = asyncio.all_tasks()
    found = given or Loopback()
    try:
        yield found
    finally:
        await found.close()
        ours = [task for task in asyncio.all_tasks() - before if "Target.serve" in repr(task)]
        for task in ours:
            task.cancel()
        await asyncio.gather(*ours, return_exceptions=True)
        await asyncio.sleep(0)  # for transports that were aborted
