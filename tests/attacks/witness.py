"""Legitimate clients during an attack: what they are answered, and how long they wait.

Each request has a connection of its own, as a probe's has. Requests of a kind follow each other without overlap, so the
longest time between two good answers is the gap that a client sees.
"""

import asyncio
import json
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from tests.kit.edge import PROMPT, picture
from tests.services.edge.talk import get, post

EVERY_S = 0.05
SUBMIT_EVERY_S = 1.0
ANSWER_WITHIN_S = 60.0
PROBES = ("/livez", "/readyz", "/health", "/metrics")


@dataclass
class Witness:
    """Asks an edge, and keeps count. `job_id` is of a job that waits."""

    port: int
    job_id: str
    answers: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    gaps_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    async def watch(self, stop: asyncio.Event) -> None:
        """Ask until `stop`."""
        body = json.dumps({"prompt": PROMPT, "image_url": picture(), "num_frames": 25, "infer_steps": 20}).encode()
        async with asyncio.TaskGroup() as tasks:
            for path in PROBES:
                tasks.create_task(self._repeat(path, EVERY_S, stop, self._get(path)))
            status = self._get(f"/video/status/{self.job_id}")
            tasks.create_task(self._repeat("status", EVERY_S, stop, status))
            tasks.create_task(self._repeat("submit", SUBMIT_EVERY_S, stop, self._post("/video/submit", body)))

    async def _repeat(self, kind: str, every_s: float, stop: asyncio.Event, ask: Callable[[], Awaitable[str]]) -> None:
        good = time.monotonic()
        while not stop.is_set():
            answer = await ask()
            self.answers[kind][answer] += 1
            now = time.monotonic()
            self.gaps_s[kind] = max(self.gaps_s[kind], now - good)
            if answer in ("200", "202"):
                good = now
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), every_s)
                return

    def _get(self, path: str) -> Callable[[], Awaitable[str]]:
        return lambda: exchange(self.port, get(path, "Host: a", "Connection: close"))

    def _post(self, path: str, body: bytes) -> Callable[[], Awaitable[str]]:
        head = post(path, "Connection: close", f"Content-Length: {len(body)}")
        return lambda: exchange(self.port, head + body)


async def exchange(port: int, request: bytes) -> str:
    """Return the answer's status code, or what came instead of one."""
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(request)
                heard = await reader.read(-1)
            finally:
                writer.transport.abort()
    except OSError as error:
        return type(error).__name__
    return heard.split(b" ", 2)[1].decode() if heard.startswith(b"HTTP/1.1 ") else "closed"
