"""Readiness follows writes: `/readyz` answers 503 while the broker takes none, and 200 afterwards."""

import signal
import time
from collections.abc import Callable

import aiohttp

from contracts import subjects
from contracts.broker import Bus, Unavailable, bus
from ops import provision
from services.edge.canary import FAILING_AFTER_S, canary
from tests.kit.broker import Broker, provision_settings
from tests.kit.edge import Edge
from tests.kit.waiting import eventually

SLOW_S = 4.0


async def readiness(client: aiohttp.ClientSession, edge: Edge) -> tuple[int, str]:
    async with client.get(f"{edge.url}/readyz") as answer:
        return answer.status, (await answer.json()).get("message", "")


async def test_one_slow_write_leaves_an_edge_ready_and_none_for_long_does_not(
    client: aiohttp.ClientSession, edge: Edge, broker: Broker, link: Bus
) -> None:
    await link.end()  # nats-py leaves sockets open that it has to a frozen broker

    async def not_ready() -> bool:
        return (await readiness(client, edge))[0] == 503

    began = time.monotonic()
    broker.send(signal.SIGSTOP)
    try:
        while time.monotonic() - began < SLOW_S:
            assert not await not_ready()
        await eventually(not_ready, within_s=15 - SLOW_S)
        assert time.monotonic() - began >= FAILING_AFTER_S
        assert (await readiness(client, edge))[1] == "the broker takes no writes"
    finally:
        broker.send(signal.SIGCONT)
    await edge.ready(client)


async def test_an_edge_is_not_ready_before_provisioning_and_no_longer_once_a_stream_is_gone(
    client: aiohttp.ClientSession, edges: Callable[..., Edge], broker: Broker
) -> None:
    edge = edges()
    async with bus.connect(broker.url, name="test") as link:

        async def answers() -> tuple[int, str] | None:
            try:
                return await readiness(client, edge)
            except aiohttp.ClientError:
                return None

        unprovisioned = (503, "the broker does not answer, or is not provisioned")
        assert await eventually(answers, within_s=20) == unprovisioned
        await provision.provision(link, provision_settings(broker))
        await edge.ready(client)
        await link.admin.delete_stream(subjects.JOBS_STREAM)

        async def unprovisioned_again() -> bool:
            return await answers() == unprovisioned

        await eventually(unprovisioned_again, within_s=15)
        await provision.provision(link, provision_settings(broker))
        await edge.ready(client)


async def test_a_full_queue_leaves_an_edge_ready(
    client: aiohttp.ClientSession, edge: Edge, link: Bus, broker: Broker
) -> None:
    await provision.provision(link, provision_settings(broker, max_concurrent_tasks=1))
    async with canary(link, "c" * 32) as here:
        await eventually(lambda: here.objection is None)
        await link.publish(subjects.job("a" * 32), b"{}", within_s=2)
        for _ in range(3):
            await link.have_refused(subjects.job("b" * 32))
        assert link.acknowledgements(subjects.job("b" * 32)).lasts_s == 0
        assert here.objection is None
        assert (await readiness(client, edge))[0] == 200


async def test_after_a_write_of_its_own_that_nobody_took_an_edge_is_ready_again_without_another(
    link: Bus, broker: Broker
) -> None:
    async with canary(link, "c" * 32) as here:
        await eventually(lambda: here.objection is None)
        await link.admin.delete_stream(subjects.JOBS_STREAM)
        try:
            await link.publish(subjects.job("a" * 32), b"{}", within_s=FAILING_AFTER_S + 1)
        except Unavailable:
            assert here.objection is not None
        await provision.provision(link, provision_settings(broker))
        await eventually(lambda: here.objection is None, within_s=15)
        assert (await link.stream(subjects.JOBS_STREAM)).state.messages == 0
        assert await link.read(subjects.EVENTS_STREAM, subjects.ALL_EVENTS) == []
