"""Two tenants with three slots each, and 200 who want one at once: on one broker and on three, calm and with kills."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from msgspec import Struct
from msgspec.structs import replace

from contracts import subjects
from contracts.broker import Bus, Unavailable, bus
from contracts.events import JobSubmitted
from contracts.slots import Slots, SlotsFull, SlotsUnsettled
from ops import provision
from ops.provision import Settings
from tests.chaos.soak.brokers import NODES, three_brokers
from tests.kit import auth
from tests.kit.broker import Broker, provision_settings
from tests.kit.builders import submitted
from tests.kit.edge import Edge, submit
from tests.kit.waiting import eventually

pytestmark = pytest.mark.timeout(300)

LIMIT, TAKERS, CONNECTIONS = 3, 200, 3
TENANTS = ("flood", "other")
HOLDS_S = 0.02
AGAIN_AFTER_S = 0.05
UNUSED_S_MAX = 1.0
LOOK_EVERY_S = 0.01

Disturb = Callable[[], Awaitable[None]]


class Setup(Struct, frozen=True):
    """What a storm is given: a connection for each taker's process, one of its own to look, and a fault."""

    links: list[Bus]
    observer: Bus
    disturb: Disturb


@asynccontextmanager
async def on_one(folder: Path) -> AsyncGenerator[Setup, None]:
    broker = Broker(folder / "jetstream")
    broker.start()

    async def disturb() -> None:
        broker.kill()
        broker.start()

    try:
        async with connections(broker.url) as (observer, *links):
            await provision.provision(observer, provision_settings(broker))
            yield Setup(links, observer, disturb)
    finally:
        broker.kill()


@asynccontextmanager
async def on_three(folder: Path) -> AsyncGenerator[Setup, None]:
    async with three_brokers(folder) as brokers, connections(brokers.url) as (observer, *links):
        settings = Settings(nats_url=brokers.url, nats_monitor_urls=brokers.monitor_urls, nats_replicas=NODES)
        await provision.provision(observer, settings)
        victims = iter(brokers.nodes)

        async def disturb() -> None:
            node = next(victims)
            node.kill()
            node.start()
            await brokers.together()

        yield Setup(links, observer, disturb)


@asynccontextmanager
async def connections(url: str) -> AsyncGenerator[list[Bus], None]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(bus.connect(url, name=f"link-{number}"))
            for number in range(1 + CONNECTIONS)
        ]


class Storm:
    """The takers of one tenant, each of which takes a slot, holds it, and frees it; refused ones come again."""

    def __init__(self, tenant: str, setup: Setup) -> None:
        self.tenant, self._setup = tenant, setup
        self._slots = [Slots(link) for link in setup.links]
        self.holding, self.most_held, self.waiting = 0, 0, TAKERS
        self.outcomes = Counter[str]()

    async def run(self) -> None:
        await asyncio.gather(*map(self._one, range(TAKERS)))

    async def _one(self, number: int) -> None:
        slots, job_id = self._slots[number % CONNECTIONS], f"{self.tenant.encode().hex():0>20}{number:012x}"
        while not await self._take(slots, job_id):  # noqa: ASYNC110  # a refused client comes again
            await asyncio.sleep(AGAIN_AFTER_S)
        self.waiting -= 1
        self.holding += 1
        self.most_held = max(self.most_held, self.holding)
        await asyncio.sleep(HOLDS_S)
        self.holding -= 1
        job = replace(submitted(), job_id=job_id, tenant=self.tenant, has_slot=True)
        await eventually(lambda: self._freed(slots, job), within_s=60)

    async def _take(self, slots: Slots, job_id: str) -> bool:
        try:
            await slots.take(self.tenant, job_id, LIMIT, within_s=60)
        except SlotsFull as full:
            self.outcomes["full" if len(full.job_ids - {job_id}) == LIMIT else "refused wrongly"] += 1
            return False
        except SlotsUnsettled:
            self.outcomes["unsettled"] += 1
            return False
        self.outcomes["taken"] += 1
        return True

    async def _freed(self, slots: Slots, job: JobSubmitted) -> bool:
        """Free a slot, and return whether it is gone, by the leader's word: `free` does not say if it failed."""
        await slots.free(job)
        subject = subjects.slot(job.tenant, job.job_id)
        return await self._setup.observer.last(subjects.SLOTS_STREAM, subject) is None


async def watched(observer: Bus, storms: list[Storm], done: asyncio.Event) -> tuple[int, float]:
    """Return the most slots that the leader knew of for a tenant, and the longest that free ones had no taker."""
    most, longest_s, full_at = 0, 0.0, {storm.tenant: time.monotonic() for storm in storms}
    while not done.is_set():
        for storm in storms:
            try:
                there = len(await observer.subjects(subjects.SLOTS_STREAM, subjects.slots_of(storm.tenant)))
            except Unavailable:
                continue
            most = max(most, there)
            if there >= LIMIT or storm.waiting < LIMIT:
                full_at[storm.tenant] = time.monotonic()
            longest_s = max(longest_s, time.monotonic() - full_at[storm.tenant])
        await asyncio.sleep(LOOK_EVERY_S)
    return most, longest_s


class Where(Struct, frozen=True):
    """Three brokers as an edge of the kit is told of them."""

    environment: dict[str, str]
    url: str


async def test_of_200_submissions_at_once_over_three_edges_on_three_brokers_as_many_as_may_are_taken(
    tmp_path: Path,
) -> None:
    async with three_brokers(tmp_path) as brokers, connections(brokers.url) as (observer, *_), clients() as client:
        settings = Settings(nats_url=brokers.url, nats_monitor_urls=brokers.monitor_urls, nats_replicas=NODES)
        await provision.provision(observer, replace(settings, max_concurrent_tasks=50))
        edges = [
            Edge(tmp_path, Where({"NATS_URL": node.url, "AUTH": auth.AUTH}, node.url), TENANT_JOBS_MAX=str(LIMIT))
            for node in brokers.nodes
        ]
        try:
            for edge in edges:
                edge.start()
            for edge in edges:
                await edge.ready(client)
            answers = await asyncio.gather(*(submit(client, edges[number % 3]) for number in range(TAKERS)))
            refused = Counter((code, said.get("error")) for code, said in answers)
            assert refused == {(202, None): LIMIT, (429, "TENANT_BUSY"): TAKERS - LIMIT}
            assert len(await observer.read(subjects.JOBS_STREAM, subjects.ALL_JOBS)) == LIMIT
        finally:
            for edge in edges:
                if edge.alive:
                    assert edge.stop() == 0, edge.text


@asynccontextmanager
async def clients() -> AsyncGenerator[aiohttp.ClientSession, None]:
    timeout, connector = aiohttp.ClientTimeout(120), aiohttp.TCPConnector(limit=0)
    async with auth.client_session(timeout=timeout, connector=connector) as client:
        yield client


@pytest.mark.parametrize("disturbances", [0, 2], ids=["calm", "kills"])
@pytest.mark.parametrize("brokers", [on_one, on_three], ids=["one broker", "three brokers"])
async def test_of_200_at_once_never_more_hold_a_slot_than_may_and_free_slots_are_taken_within_a_second(
    tmp_path: Path, brokers: Callable[[Path], AbstractAsyncContextManager[Setup]], disturbances: int
) -> None:
    async with brokers(tmp_path) as setup:
        storms, done = [Storm(tenant, setup) for tenant in TENANTS], asyncio.Event()
        watching = asyncio.create_task(watched(setup.observer, storms, done))
        storming = [asyncio.create_task(storm.run()) for storm in storms]
        for number in range(disturbances):
            await eventually(
                lambda n=number: min(storm.outcomes["taken"] for storm in storms) > TAKERS * (n + 1) // 4, within_s=60
            )
            await setup.disturb()
        await asyncio.gather(*storming)
        done.set()
        most, longest_s = await watching
        assert [storm.outcomes["taken"] for storm in storms] == [TAKERS] * 2
        assert most == LIMIT
        assert [storm.most_held for storm in storms] == [LIMIT] * 2
        assert all(storm.outcomes["full"] and not storm.outcomes["refused wrongly"] for storm in storms)
        if not disturbances:
            assert longest_s < UNUSED_S_MAX
        assert await setup.observer.subjects(subjects.SLOTS_STREAM, subjects.ALL_SLOTS) == []
