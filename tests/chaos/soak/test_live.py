"""Live events with three brokers: every edge hands on every event once, whatever becomes of the log's leader."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from contracts import subjects
from contracts.broker import bus
from ops import provision
from ops.provision import Settings
from tests.chaos.soak.brokers import NODES, three_brokers
from tests.chaos.soak.partition import stepping_down
from tests.kit.builders import ID
from tests.services.edge.live.streams import heard, hub_at, publish, steps

pytestmark = pytest.mark.timeout(300)

EVENTS = 200
HEARD_WITHIN_S = 200.0


@pytest.mark.parametrize("fault", ["calm", "leaders stepping down", "leader killed"])
async def test_every_edge_hands_on_every_event_once(tmp_path: Path, fault: str) -> None:
    async with three_brokers(tmp_path) as brokers, AsyncExitStack() as stack:
        link = await stack.enter_async_context(bus.connect(brokers.url, name="test"))
        settings = Settings(nats_url=brokers.url, nats_monitor_urls=brokers.monitor_urls, nats_replicas=NODES)
        await provision.provision(link, settings)
        hubs = [await stack.enter_async_context(hub_at(brokers.url)) for _ in range(NODES)]
        readers = [await stack.enter_async_context(hub.joined(None)) for hub in hubs]
        if fault == "leaders stepping down":
            await stack.enter_async_context(stepping_down(brokers.url))
        listening = [asyncio.create_task(heard(reader, EVENTS, within_s=HEARD_WITHIN_S)) for reader in readers]
        await publish(link, steps(ID, 1, EVENTS // 2))
        if fault == "leader killed":
            cluster = (await link.stream(subjects.EVENTS_STREAM)).cluster
            leader = next(node for node in brokers.nodes if cluster is not None and node.name == cluster.leader)
            leader.kill()
            await publish(link, steps(ID, 1 + EVENTS // 2, EVENTS // 4))
            leader.start()
            await publish(link, steps(ID, 1 + 3 * EVENTS // 4, EVENTS // 4))
        else:
            await publish(link, steps(ID, 1 + EVENTS // 2, EVENTS // 2))
        stored = [message.sequence for message in await link.read(subjects.EVENTS_STREAM, subjects.ALL_EVENTS)]
        assert len(stored) == EVENTS
        for task in listening:
            assert await task == stored
        assert not any(reader.fell_behind or reader.must_leave for reader in readers)
