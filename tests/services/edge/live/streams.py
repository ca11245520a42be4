"""Clients of live events, events to publish, and an edge whose limits are small: for the tests of this folder."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from msgspec.structs import replace

from contracts.broker import Bus, bus
from contracts.events import Event
from contracts.job_log import JobLog
from services.edge.live.hub import Hub, running
from services.edge.live.reader import Reader
from tests.kit import builders
from tests.kit.broker import Broker
from tests.kit.edge import Edge

ALIVE_EVERY_S = 0.3
READERS_MAX = 3
REPLAYED_MAX = 40
HEARD_WITHIN_S = 30.0

# `python -m services.edge`, with smaller limits of live events.
LIVELY = f"""
import sys, uvloop
from contracts.process import env, start
from services.edge import __main__ as edge
from services.edge.live import follow, readers
follow.ALIVE_EVERY_S, follow.REPLAYED_MAX = {ALIVE_EVERY_S}, {REPLAYED_MAX}
readers.READERS_MAX = {READERS_MAX}
start.configure("edge")
sys.exit(0 if uvloop.run(edge.serve(env.read(edge.Settings))) else 1)
"""


class Lively(Edge):
    """A real edge with the small limits above, which shows all jobs."""

    def __init__(self, folder: Path, broker: Broker, **variables: str) -> None:
        super().__init__(folder, broker, **{"SHOW_ALL_JOBS": "1", **variables})
        self._arguments = ["-c", LIVELY]


class Block(NamedTuple):
    """One block of an event stream: its id, the kind and the data of its event, its `retry`, or its comment."""

    id: int | None
    event: str | None
    data: Any
    retry: int | None
    comment: str | None


def parsed(block: bytes) -> Block:
    """Return a block by the rules of the HTML standard, as far as they matter here."""
    fields: dict[str, str] = {}
    comment = None
    for line in filter(None, block.decode().splitlines()):
        name, _, value = line.partition(":")
        if name:
            fields[name] = value.removeprefix(" ")
        else:
            comment = value.strip()
    number, retry = fields.get("id"), fields.get("retry")
    return Block(
        None if number is None else int(number),
        fields.get("event"),
        json.loads(fields["data"]) if "data" in fields else None,
        None if retry is None else int(retry),
        comment,
    )


class EventReader:
    """One response that is a stream of events."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def block(self) -> Block | None:
        """Return the next block, or None at the end of the stream."""
        read = await self.response.content.readuntil(b"\n\n")
        return parsed(read) if read.endswith(b"\n\n") else None

    async def event(self) -> Block:
        """Return the next block that is an event."""
        while True:
            block = await self.block()
            assert block is not None, "the stream has ended"
            if block.event is not None:
                return block

    async def rest(self) -> list[Block]:
        """Return all events up to the end of the stream."""
        found: list[Block] = []
        while (block := await self.block()) is not None:
            found += [block] if block.event is not None else []
        return found


@asynccontextmanager
async def following(
    client: aiohttp.ClientSession, edge: Edge, job_id: str | None = None, *, last: int | None = None, query: str = ""
) -> AsyncGenerator[EventReader, None]:
    """A stream of a job's events, or of all jobs'; `last` is the id of the last event that came before."""
    path = "/video/events" if job_id is None else f"/video/events/{job_id}"
    headers = {} if last is None else {"Last-Event-ID": str(last)}
    timeout = aiohttp.ClientTimeout(total=None, sock_read=20)
    async with client.get(f"{edge.url}{path}{query}", headers=headers, timeout=timeout) as response:
        assert response.status == 200, await response.text()
        yield EventReader(response)
        response.close()


@asynccontextmanager
async def hub_at(
    url: str, *, readers_max: int = 10, draining: asyncio.Event | None = None
) -> AsyncGenerator[Hub, None]:
    """A hub with a connection of its own."""
    async with (
        bus.connect(url, name="edge", wait=False) as broker,
        running(Hub(broker, draining or asyncio.Event(), readers_max=readers_max)) as hub,
    ):
        yield hub


async def heard(reader: Reader, count: int, *, within_s: float = HEARD_WITHIN_S) -> list[int | None]:
    """Return the sequences of the next events, at least so many."""
    found: list[int | None] = []
    async with asyncio.timeout(within_s):
        while len(found) < count:
            found += [event.sequence for event in await reader.take(within_s=within_s)]
    return found


def life(job_id: str, steps: int = 5) -> list[Event]:
    """Return the events of a job that succeeds."""
    events = [
        builders.submitted(),
        builders.started(1, 101.0),
        *(builders.step(1, 102.0 + at, at, at / (steps + 1)) for at in range(1, steps + 1)),
        builders.succeeded(1, 200.0),
    ]
    return [replace(event, job_id=job_id) for event in events]


def steps(job_id: str, first: int, count: int) -> list[Event]:
    """Return events of a job that runs on and on, each of them another one."""
    numbers = range(first, first + count)
    return [replace(builders.step(1 + at // 1000, 102.0, at % 1000, 0.5), job_id=job_id) for at in numbers]


async def publish(link: Bus, events: list[Event]) -> None:
    """Append events to the log, in this order."""
    job_log = JobLog(link, publisher="test")
    for event in events:
        await job_log.append(event)


def rss_kb(pid: int) -> int:
    """Return the memory that a process holds now."""
    return int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0])
