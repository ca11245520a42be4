"""Streams that are cut, and edges that are killed: over all connections together, each event comes once."""

import asyncio
import random
from collections.abc import Callable

import aiohttp
import pytest

from contracts import subjects
from contracts.broker import Bus
from tests.kit.builders import ID
from tests.kit.edge import Edge
from tests.kit.waiting import eventually
from tests.services.edge.live.streams import following, life, publish, steps

CUTS = 100
RESTARTS = 6
EDGES = 3
OTHERS = [f"{number:032x}" for number in range(5)]
PAUSE_S = 0.04
READ_MAX = 6


class Restless:
    """A reader that breaks off after a few events, each time at another edge, and comes again with the last id."""

    def __init__(self, client: aiohttp.ClientSession, edges: list[Edge], job_id: str | None, seed: int) -> None:
        self._client, self._edges, self.job_id = client, edges, job_id
        self._random = random.Random(seed)
        self.heard: list[int] = []
        self.cuts = 0
        self.lost = 0
        """How many connections were lost with an edge."""

    async def read_until(self, is_enough: Callable[["Restless"], bool]) -> None:
        edge = self._edges[0]
        while not is_enough(self):
            edge = self._random.choice([each for each in self._edges if each is not edge])
            try:
                await self._read_some(edge)
                self.cuts += 1
            except (aiohttp.ClientError, asyncio.IncompleteReadError, AssertionError):
                self.lost += 1
                await asyncio.sleep(PAUSE_S)

    async def _read_some(self, edge: Edge) -> None:
        """Read a few events, and cut the connection, now and then in the middle of an event."""
        async with following(self._client, edge, self.job_id, last=self.heard[-1] if self.heard else 0) as stream:
            for _ in range(self._random.randint(0, READ_MAX)):
                block = await asyncio.wait_for(stream.block(), 20)
                if block is None:
                    return
                if block.id is not None and block.event is not None:
                    self.heard.append(block.id)


@pytest.mark.timeout(240)
async def test_a_hundred_cuts_and_restarts_of_edges_lose_no_event_and_repeat_none(
    client: aiohttp.ClientSession, edges: Callable[..., Edge], link: Bus
) -> None:
    three = [edges(SHOW_ALL_JOBS="1") for _ in range(EDGES)]
    for edge in three:
        await edge.ready(client)
    await publish(link, [life(job_id)[0] for job_id in (ID, *OTHERS)])
    done = asyncio.Event()
    drawn = random.Random(1)

    async def publish_on() -> None:
        number = 0
        while not done.is_set():
            number += 1
            await publish(link, steps(drawn.choice([ID, ID, *OTHERS]), number, 1))
            await asyncio.sleep(drawn.random() * PAUSE_S)

    async def restart_on() -> None:
        for turn in range(RESTARTS):
            edge = three[turn % EDGES]
            await asyncio.to_thread(edge.kill if turn % 2 else edge.stop)
            edge.start()
            await edge.ready(client)

    one, every = Restless(client, three, ID, 1), Restless(client, three, None, 2)
    async with asyncio.TaskGroup() as tasks:
        publishing = tasks.create_task(publish_on())
        restarting = tasks.create_task(restart_on())
        reading = [
            tasks.create_task(each.read_until(lambda it: it.cuts >= CUTS and restarting.done()))
            for each in (one, every)
        ]
        await asyncio.wait(reading)
        done.set()
        await publishing
    assert one.lost or every.lost
    print(f"{one.cuts} and {every.cuts} cuts, {one.lost} and {every.lost} lost with an edge")  # noqa: T201
    for reader, pattern in ((one, subjects.events_of(ID)), (every, subjects.ALL_EVENTS)):
        stored = [message.sequence for message in await link.read(subjects.EVENTS_STREAM, pattern)]
        async with following(client, three[0], reader.job_id, last=reader.heard[-1]) as stream:
            while reader.heard[-1] < stored[-1]:
                reader.heard.append((await stream.event()).id or 0)
        assert reader.heard == stored
        assert reader.cuts >= CUTS
    await eventually(lambda: all(edge.alive for edge in three))
