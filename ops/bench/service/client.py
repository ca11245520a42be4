"""Generates load over HTTP/1.1, as a process of its own: a `Plan` on its standard input, a `Tally` on its output.

A closed loop: each connection sends its next request once it has read the last answer. Written on bare sockets under
uvloop and not taken from a package such as wrk, so that the benchmark runs wherever the product does, sends bodies of
any size, and counts only answers of the right status and length. Its own work is part of every latency, alike for all
sides; its CPU time is in the tally, and shows when the generator itself is the limit.
"""

import asyncio
import itertools
import random
import statistics
import sys
import time
from pathlib import Path
from typing import cast

import msgspec
import uvloop
from msgspec import Struct

REFUSED_PAUSE_S = 0.1
SETTLED_WITHIN_S = 300.0
OVERLOADED = 503


class Plan(Struct, frozen=True, kw_only=True):
    """The requests of one window: `connections` clients for `seconds`, and whatever is under way after that to its end.

    The clients share out `targets` in random order; each target is sent with the same method and body, and with each
    of a header's values in turn. With `requests` the window ends after so many instead. `expected` is the status of a
    right answer.
    """

    port: int
    targets: list[str]
    connections: int = 1
    seconds: float = 2.0
    requests: int | None = None
    method: str = "GET"
    header_values: dict[str, list[str]] = {}
    body_file: str | None = None
    expected: int = 200


class Tally(Struct, frozen=True, kw_only=True):
    """The result of a window: right answers, refusals (503), wrong answers with an example, and what it took."""

    done: int
    refused: int
    wrong: int
    example: str
    seconds: float
    bytes: int
    p50_ms: float
    p99_ms: float
    slowest_ms: float
    generator_cpu: float


class _Connection(asyncio.Protocol):
    """A client, which reads answers that have a length. Lives for a window."""

    def __init__(self) -> None:
        self._answer: asyncio.Future[int] | None = None
        self._head = b""
        self._left = self.status = self.received = 0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's own class is none

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError(f"the connection was closed: {exc}"))

    async def ask(self, request: bytes, body: bytes) -> int:
        """Send a request and return the status of its answer, once the whole of it is here."""
        self._answer = asyncio.get_running_loop().create_future()
        self._head, self._left = b"", 0
        assert self.transport is not None
        self.transport.write(request)
        if body:
            self.transport.write(body)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        if not self._left:
            self._head += data
            head, found, data = self._head.partition(b"\r\n\r\n")
            if not found:
                return
            self.status, self._left = int(head[9:12]), _length(head) + 1  # one more, so that 0 means: in the head
        self.received += len(data)
        self._left -= len(data)
        if self._left == 1 and self._answer is not None and not self._answer.done():
            self._left = 0
            self._answer.set_result(self.status)


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise ValueError(f"an answer without a length: {head!r}")


class _Load:
    """The clients of one window, and what they have seen."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.body = b"" if plan.body_file is None else Path(plan.body_file).read_bytes()
        heads = [
            _rendered(plan, target, headers, len(self.body)) for target in plan.targets for headers in _headers(plan)
        ]
        self._targets = itertools.cycle(random.Random(plan.connections).sample(heads, len(heads)))
        self._left = itertools.count() if plan.requests is None else iter(range(plan.requests))
        self.latencies_ms: list[float] = []
        self.refused = self.wrong = self.bytes = 0
        self.example = ""

    async def client(self, ends_at: float) -> None:
        """Ask until the window ends."""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(_Connection, "127.0.0.1", self.plan.port)
        try:
            while next(self._left, None) is not None and (self.plan.requests or time.monotonic() < ends_at):
                began = time.monotonic()
                status = await connection.ask(next(self._targets), self.body)
                if status == self.plan.expected:
                    self.latencies_ms.append(1000 * (time.monotonic() - began))
                elif status == OVERLOADED:
                    self.refused += 1
                    await asyncio.sleep(REFUSED_PAUSE_S)
                else:
                    self.wrong += 1
                    self.example = f"status {status}"
        except (OSError, ValueError) as error:
            self.wrong, self.example = self.wrong + 1, str(error)
        finally:
            self.bytes += connection.received
            if connection.transport is not None:
                connection.transport.abort()


def _headers(plan: Plan) -> list[dict[str, str]]:
    """Return every combination of the headers' values; one without headers if there are none."""
    values = itertools.product(*plan.header_values.values())
    return [dict(zip(plan.header_values, each, strict=True)) for each in values]


def _rendered(plan: Plan, target: str, headers: dict[str, str], length: int) -> bytes:
    headers = {"Host": f"127.0.0.1:{plan.port}", **headers}
    if length:
        headers |= {"Content-Type": "application/json", "Content-Length": str(length)}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{plan.method} {target} HTTP/1.1\r\n{lines}\r\n".encode()


async def generate(plan: Plan) -> Tally:
    """Run the window and return what came of it. Raises `TimeoutError` if answers stay out for `SETTLED_WITHIN_S`."""
    load = _Load(plan)
    began, cpu_began = time.monotonic(), time.process_time()
    clients = (load.client(began + plan.seconds) for _ in range(plan.connections))
    await asyncio.wait_for(asyncio.gather(*clients), plan.seconds + SETTLED_WITHIN_S)
    took_s, cpu_s = time.monotonic() - began, time.process_time() - cpu_began
    latencies = sorted(load.latencies_ms) or [0.0]
    return Tally(
        done=len(load.latencies_ms),
        refused=load.refused,
        wrong=load.wrong,
        example=load.example,
        seconds=took_s,
        bytes=load.bytes,
        p50_ms=statistics.median(latencies),
        p99_ms=latencies[min(len(latencies) - 1, len(latencies) * 99 // 100)],
        slowest_ms=latencies[-1],
        generator_cpu=cpu_s / took_s,
    )


if __name__ == "__main__":
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(generate(plan))))
