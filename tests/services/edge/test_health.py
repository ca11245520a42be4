"""`/health` gives the reasons why the service is not healthy, at once if they are known, and no internals."""

import asyncio
import json
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from contracts import subjects
from contracts.broker import Bus, Delivery
from ops import provision
from services.edge.health import health as of_service
from tests.kit.broker import Broker, provision_settings
from tests.kit.edge import Edge
from tests.kit.waiting import eventually
from tests.ops.brokers import JETSTREAM, USER, old_server, server

AT_ONCE_S = 3.0
"""Less than the time for which an unhealthy edge waits where it does not know why."""

Edges = Callable[..., Edge]


async def health(client: aiohttp.ClientSession, edge: Edge) -> tuple[int, dict[str, Any]]:
    async with client.get(f"{edge.url}/health") as answer:
        return answer.status, await answer.json()


async def unhealthy(client: aiohttp.ClientSession, edge: Edge, reason: str) -> dict[str, Any]:
    """Wait for the reason, in an answer that comes at once, and return the answer."""

    async def said() -> dict[str, Any] | None:
        began = time.monotonic()
        try:
            code, found = await health(client, edge)
        except aiohttp.ClientError:
            return None
        if found["reasons"] != [reason]:
            return None
        assert (code, found["status"]) == (503, "unhealthy")
        assert time.monotonic() - began < AT_ONCE_S
        return found

    found = await eventually(said, within_s=30)
    assert found is not None
    async with client.get(f"{edge.url}/readyz") as answer:
        assert (answer.status, (await answer.json())["message"]) == (503, reason)
    return found


async def test_a_broker_that_refuses_the_credentials_is_the_reason(
    client: aiohttp.ClientSession, edges: Edges, tmp_path: Path
) -> None:
    conf = f"accounts {{ A: {{ jetstream: {{ {JETSTREAM} }}, users: [{USER}] }} }}"
    with server(tmp_path, conf) as variables:
        right = variables["NATS_URL"]
        for url in (right.replace("u:p@", "u:wrong-word@"), right.replace("u:p@", "")):
            edge = edges(NATS_URL=url)
            found = await unhealthy(client, edge, "the broker refuses this edge's credentials (NATS_URL, NATS_CREDS)")
            assert not any(part in json.dumps(found) for part in ("wrong-word", url.rpartition(":")[2], "127.0.0.1"))


async def test_a_broker_that_denies_the_edge_its_writes_is_the_reason(
    client: aiohttp.ClientSession, edges: Edges, tmp_path: Path
) -> None:
    user = '{ user: u, password: p, permissions: { publish: { deny: "video.canary.>" } } }'
    with server(tmp_path, f"accounts {{ A: {{ jetstream: {{ {JETSTREAM} }}, users: [{user}] }} }}") as variables:
        edge = edges(**variables)
        await eventually(lambda: edge.alive)

        async def said() -> bool:
            try:
                _, found = await health(client, edge)
            except aiohttp.ClientError:
                return False
            return found["reasons"] == ["the broker denies this edge's user a right (NATS_URL, NATS_CREDS)"]

        await eventually(said, within_s=30)


async def test_a_broker_that_is_too_old_is_the_reason(client: aiohttp.ClientSession, edges: Edges) -> None:
    with old_server() as url:
        edge = edges(NATS_URL=url)
        await unhealthy(client, edge, "the broker is nats-server 2.10.26, and 2.12 or newer is needed")


async def test_a_broker_that_is_not_there_is_the_reason(
    client: aiohttp.ClientSession, edges: Edges, broker: Broker
) -> None:
    broker.kill()
    await unhealthy(client, edges(), "the broker does not answer, or is not provisioned")
    broker.start()


async def test_a_broker_without_the_streams_is_the_reason(
    client: aiohttp.ClientSession, edge: Edge, link: Bus, broker: Broker
) -> None:
    await link.admin.delete_stream(subjects.JOBS_STREAM)
    code, found = await health(client, edge)
    assert (code, found["reasons"]) == (503, ["the broker is not provisioned"])
    await provision.provision(link, provision_settings(broker))

    async def provisioned() -> bool:
        return (await health(client, edge))[0] == 200

    await eventually(provisioned, within_s=15)


async def test_a_broker_that_has_stopped_answering_is_the_reason(
    client: aiohttp.ClientSession, edge: Edge, broker: Broker, link: Bus
) -> None:
    await link.end()  # nats-py leaves sockets open that it has to a frozen broker
    broker.send(signal.SIGSTOP)
    try:
        code, found = await health(client, edge)
        assert (code, found["status"], len(found["reasons"])) == (503, "unhealthy", 1)
        assert found["reasons"][0].startswith("the broker ")
    finally:
        broker.send(signal.SIGCONT)
    await edge.ready(client)


async def test_whatever_makes_it_degraded_is_said_and_all_of_it(
    client: aiohttp.ClientSession, edge: Edge, link: Bus, broker: Broker
) -> None:
    assert (await health(client, edge))[1]["reasons"] == ["no cluster is there: jobs wait"]
    await provision.provision(link, provision_settings(broker, nats_durability_unchecked=True))
    for number in range(101):
        await link.publish(f"video.events.{number:032x}.progress", b"{}", within_s=2)

    async def said() -> list[str]:
        return (await health(client, edge))[1]["reasons"]

    assert await said() == [
        "no cluster is there: jobs wait",
        "the state service is 101 events behind: statuses lag",
        "whether the broker syncs what it acknowledges is unchecked (NATS_DURABILITY_UNCHECKED)",
    ]


async def test_a_state_service_that_folds_nothing_is_a_reason_however_few_events_wait(
    link: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lag() -> tuple[int, list[str]]:
        found = await of_service(link, [], [], time.monotonic(), None)
        return found.state_lag, [reason for reason in found.reasons if "state" in reason]

    monkeypatch.setattr("services.edge.health.STATE_LAG_S_MAX", 1.0)
    for number in range(3):
        await link.publish(f"video.events.{number:032x}.progress", b"{}", within_s=2)
    behind = (3, ["the state service is 3 events behind: statuses lag"])
    assert await lag() == (3, [])
    await eventually(lambda: is_true(lag, behind), within_s=10)

    stop = asyncio.Event()
    async with link.pulling(subjects.EVENTS_STREAM, subjects.STATE_DURABLE, limit=10, stop=stop) as pull:
        taken: list[Delivery] = []
        while len(taken) < 3:
            taken += await pull.take()
        assert await lag() == behind  # they are in the hand of a service that does nothing
        await link.acknowledge_all(taken)
        await eventually(lambda: is_true(lag, (0, [])), within_s=10)


async def is_true(ask: Callable[[], Awaitable[object]], expected: object) -> bool:
    return await ask() == expected
