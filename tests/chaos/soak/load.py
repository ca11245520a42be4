"""Requests at a steady rate through several edges, each noted with when it was answered, and how."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from msgspec import Struct

from tests.kit import auth
from tests.kit.edge import PROMPT, picture, post

STATUS_EVERY_S, SUBMIT_EVERY_S, READY_EVERY_S = 0.5, 1.5, 0.5
ANSWER_WITHIN_S = 30.0
READY_ANSWERS_WITHIN_S = 5.0
JOB = {"prompt": PROMPT, "image_url": picture(), "image_size": "128*96", "num_frames": 25, "infer_steps": 30}


class Seen(Struct, frozen=True):
    """One answer: to what, by which edge, when it was asked and answered, and the code; 0 for no answer at all."""

    what: str
    edge: str
    asked: float
    answered: float
    code: int


class Load:
    """Statuses, submissions and `/readyz` of every edge, for as long as the block of `load` lasts."""

    def __init__(self, session: aiohttp.ClientSession, urls: dict[str, str]) -> None:
        self._session, self._urls = session, urls
        self.seen: list[Seen] = []
        self.accepted: list[str] = []

    async def ask(self, what: str, edge: str, request: Callable[[str], Awaitable[tuple[int, Any]]]) -> Any:
        """Send one request, and note its answer."""
        asked = time.time()
        try:
            code, body = await request(self._urls[edge])
        except (aiohttp.ClientError, TimeoutError):
            code, body = 0, None
        self.seen.append(Seen(what, edge, asked, time.time(), code))
        return body if code < 300 else None

    async def submit(self, edge: str) -> None:
        body = await self.ask("submission", edge, lambda url: post(self._session, f"{url}/video/submit", JOB))
        if body is not None:
            self.accepted.append(body["requestId"])

    async def status(self, edge: str) -> None:
        if self.accepted:
            job_id = self.accepted[len(self.seen) % len(self.accepted)]
            await self.ask("status", edge, lambda url: self._get(f"{url}/video/status/{job_id}"))

    async def ready(self, edge: str) -> None:
        await self.ask("readyz", edge, lambda url: self._get(f"{url}/readyz"))

    async def _get(self, url: str) -> tuple[int, Any]:
        async with self._session.get(url) as answer:
            return answer.status, await answer.json()

    async def every(self, seconds: float, act: Callable[[str], Awaitable[None]], over: asyncio.Event) -> None:
        """Act at every edge, again and again, whether the last ones have been answered or not."""
        async with asyncio.TaskGroup() as tasks:
            while not over.is_set():
                for edge in self._urls:
                    tasks.create_task(_as_coroutine(act(edge)))
                await asyncio.sleep(seconds)

    def codes(self, what: str, edges: Sequence[str], after: float, until: float) -> Counter[int]:
        """How many answers of each code came in that time."""
        return Counter(
            each.code
            for each in self.seen
            if each.what == what and each.edge in edges and after <= each.answered < until
        )

    def longest_s(self, what: str, edges: Sequence[str]) -> float:
        """The longest that anybody waited for an answer."""
        waits = [each.answered - each.asked for each in self.seen if each.what == what and each.edge in edges]
        return max(waits, default=0.0)

    def longest_not_ready_s(self, edges: Sequence[str]) -> float:
        """The longest time in which one of these edges said nothing but 503."""
        return max((self._not_ready_s(edge) for edge in edges), default=0.0)

    def _not_ready_s(self, edge: str) -> float:
        longest, since = 0.0, None
        for each in sorted(self.seen, key=lambda each: each.answered):
            if each.what != "readyz" or each.edge != edge:
                continue
            if each.code == 200:
                since = None
            else:
                since = since or each.answered
                longest = max(longest, each.answered - since)
        return longest

    def not_ready_after_s(self, edge: str, since: float) -> float | None:
        """Seconds until `/readyz` of this edge was no longer 200; None if it never was so."""
        times = [
            each.answered - since
            for each in self.seen
            if each.what == "readyz" and each.edge == edge and each.answered >= since and each.code != 200
        ]
        return min(times, default=None)


@asynccontextmanager
async def load(urls: dict[str, str]) -> AsyncGenerator[Load, None]:
    """The load for the length of the block; every answer is in when it ends."""
    over = asyncio.Event()
    timeout = aiohttp.ClientTimeout(ANSWER_WITHIN_S)
    async with auth.client_session(timeout=timeout) as session, asyncio.TaskGroup() as tasks:
        running = Load(session, urls)
        for seconds, act in (
            (SUBMIT_EVERY_S, running.submit),
            (STATUS_EVERY_S, running.status),
            (READY_EVERY_S, running.ready),
        ):
            tasks.create_task(running.every(seconds, act, over))
        try:
            yield running
        finally:
            over.set()


async def readiness(urls: dict[str, str], edges: Sequence[str]) -> bool:
    """Whether all of these edges are ready."""
    async with auth.client_session(timeout=aiohttp.ClientTimeout(READY_ANSWERS_WITHIN_S)) as session:
        for edge in edges:
            try:
                async with session.get(f"{urls[edge]}/readyz") as answer:
                    if answer.status != 200:
                        return False
            except (aiohttp.ClientError, TimeoutError):
                return False
    return True


async def _as_coroutine(acting: Awaitable[None]) -> None:
    await acting
