"""Serve a process's metrics to Prometheus on a port of their own: `GET /metrics`, plain HTTP/1.1, nothing else.

Every process with a `METRICS_PORT` enters `serving`. Whoever asks can slow nothing down for long: connections, the
bytes of a request's head and the time of an answer are limited, and a connection has one request.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from importlib import import_module
from socket import socket

from contracts.process import garbage, log
from contracts.process.listening import listening
from contracts.process.metrics import Metrics

CONNECTIONS_MAX = 16
HEAD_BYTES_MAX = 16 * 1024
HEAD_WITHIN_S = 5.0
ANSWER_WITHIN_S = 10.0
"""Prometheus itself waits for no longer, unless it is told to."""
PATH = "/metrics"

Before = Callable[[], Awaitable[None]]


def opened(host: str, port: int) -> list[socket]:
    """Return listening sockets for the port, none for 0. Raises `BadSetting`, which names the setting to change."""
    return listening(host, port, of="METRICS") if port else []


@asynccontextmanager
async def serving(sockets: list[socket], metrics: Metrics, before: Before | None = None) -> AsyncGenerator[None, None]:
    """Serve the metrics on these sockets, if there are any, for the length of the block.

    `before` is awaited before each answer, to look at what the metrics read. What it raises is logged, and the answer
    is a 500.
    """
    if not sockets:
        yield
        return
    await asyncio.to_thread(import_module, "contracts.process.exposition")
    garbage.freeze()
    scrapes = _Scrapes(metrics, before)
    servers = [await asyncio.start_server(scrapes.serve, sock=each, limit=HEAD_BYTES_MAX) for each in sockets]
    try:
        yield
    finally:
        for server in servers:
            server.close()
        scrapes.end()


class _Scrapes:
    """The connections of one port."""

    def __init__(self, metrics: Metrics, before: Before | None) -> None:
        self._metrics, self._before = metrics, before
        self._running: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the one request of a connection, and close it; drop the connection if too many are open."""
        task = asyncio.current_task()
        if task is None or len(self._running) >= CONNECTIONS_MAX:
            writer.transport.abort()
            return
        self._running.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
                async with asyncio.timeout(HEAD_WITHIN_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    writer.write(await self._answer(head.decode("latin-1")))
                    await writer.drain()
                    writer.write_eof()
        finally:
            self._running.discard(task)
            writer.close()

    def end(self) -> None:
        """Cut off what is still being answered."""
        for task in self._running:
            task.cancel()

    async def _answer(self, head: str) -> bytes:
        """Return the whole answer to a request with this head."""
        method, path = ([*head.split("\r\n", 1)[0].split(" "), "", ""])[:2]
        if path.partition("?")[0] != PATH:
            return _http("404 Not Found", b"there is /metrics here\n")
        if method not in ("GET", "HEAD"):
            return _http("405 Method Not Allowed", b"only GET is offered here\n")
        try:
            if self._before is not None:
                await self._before()
            exposed: Callable[[Metrics, str], tuple[bytes, str]] = import_module("contracts.process.exposition").exposed
            body, kind = exposed(self._metrics, _header(head, "accept"))
        except Exception:  # noqa: BLE001  # whatever it is, the process goes on
            log.get().exception("metrics_not_served")
            return _http("500 Internal Server Error", b"the log says why\n")
        answer = partial(_http, "200 OK", body, f"{kind}; charset=utf-8")
        return answer(with_body=method == "GET")


def _http(status: str, body: bytes, kind: str = "text/plain", *, with_body: bool = True) -> bytes:
    """Return an answer, the last of its connection."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + (body if with_body else b"")


def _header(head: str, name: str) -> str:
    """Return the value of a header; empty without one."""
    for line in head.split("\r\n")[1:]:
        key, _, value = line.partition(":")
        if key.strip().lower() == name:
            return value.strip()
    return ""
