"""A process that is announced answers what the nats CLI asks: plain requests to `$SRV.PING`, `.INFO` and `.STATS`."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import nats
import nats.errors
import pytest
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from contracts import subjects
from contracts.broker import Service, bus
from contracts.broker.service import ANNOUNCE_AFTER_S
from tests.kit.broker import Broker
from tests.kit.waiting import eventually
from tests.ops.brokers import JETSTREAM, server

SERVICE = Service("edge", "serves tests", {"instance": "i-1"}, lambda: {"submit": {"requests": 3}})
SHORT_S = 1.0


@pytest.fixture
async def cli(broker: Broker) -> AsyncGenerator[Client, None]:
    """A client of the broker that knows nothing of ours."""
    client = await nats.connect(broker.url)
    yield client
    await client.close()


async def asked(cli: Client, subject: str) -> list[dict[str, Any]]:
    """The answers of all services to a request, as the CLI collects them: for a while after the request."""
    inbox = cli.new_inbox()
    answers: list[dict[str, Any]] = []

    async def take(message: Any) -> None:
        if message.data:
            answers.append(json.loads(message.data))

    subscription = await cli.subscribe(inbox, cb=take)
    await cli.publish(subject, b"", reply=inbox)
    await cli.flush()
    await eventually(lambda: answers)
    await subscription.unsubscribe()
    return answers


async def found(cli: Client, subject: str = "$SRV.PING") -> bool:
    try:
        return bool((await cli.request(subject, b"", timeout=1)).data)
    except (nats.errors.NoRespondersError, nats.errors.TimeoutError):
        return False


async def test_ping_info_and_stats_are_answered(broker: Broker, cli: Client) -> None:
    async with bus.connect(broker.url, name="edge") as link, link.announced(SERVICE):
        await eventually(lambda: found(cli))
        (ping,) = await asked(cli, "$SRV.PING")
        assert (ping["type"], ping["name"]) == ("io.nats.micro.v1.ping_response", "wanjet-edge")
        assert ping["version"].count(".") == 2
        (info,) = await asked(cli, "$SRV.INFO.wanjet-edge")
        assert (info["description"], info["metadata"]) == ("serves tests", {"instance": "i-1"})
        (stats,) = await asked(cli, f"$SRV.STATS.wanjet-edge.{ping['id']}")
        (endpoint,) = stats["endpoints"]
        assert endpoint["data"] == {"submit": {"requests": 3}}
        figures = await cli.request(subjects.figures_of("edge"), b"", timeout=2)
        assert json.loads(figures.data) == {"submit": {"requests": 3}}
    assert not await found(cli)


async def test_it_is_announced_again_by_a_broker_that_was_restarted(broker: Broker, cli: Client) -> None:
    async with bus.connect(broker.url, name="edge") as link, link.announced(SERVICE):
        await eventually(lambda: found(cli))
        broker.kill()
        await eventually(lambda: not link.connected)
        broker.start()
        await eventually(lambda: link.connected)
        await eventually(lambda: cli.is_connected)
        await eventually(lambda: found(cli))


async def test_a_broker_that_comes_later_delays_no_start(broker: Broker, cli: Client) -> None:
    broker.kill()
    began = time.monotonic()
    async with bus.connect(broker.url, name="edge", wait=False) as link, link.announced(SERVICE):
        assert time.monotonic() - began < SHORT_S
        broker.start()
        await eventually(lambda: link.connected and cli.is_connected)
        await eventually(lambda: found(cli))


@pytest.mark.parametrize("before", [True, False])
async def test_the_end_waits_for_no_broker(broker: Broker, cli: Client, before: bool) -> None:
    """Whether the broker falls silent before the process is announced or after."""
    async with bus.connect(broker.url, name="edge") as link:
        async with link.announced(SERVICE):
            if not before:
                await eventually(lambda: found(cli))
            broker.send(signal.SIGSTOP)
            if before:
                await asyncio.wait_for(eventually(lambda: not link.connected), 10 * ANNOUNCE_AFTER_S)
            began = time.monotonic()
        assert time.monotonic() - began < SHORT_S
        broker.send(signal.SIGCONT)


async def test_figures_that_fail_cost_an_answer_and_nothing_else(broker: Broker, cli: Client) -> None:
    def fails() -> dict[str, object]:
        raise ValueError

    async with bus.connect(broker.url, name="edge") as link, link.announced(Service("edge", "", {}, fails)):
        await eventually(lambda: found(cli))
        assert not await found(cli, "$SRV.STATS")
        assert await found(cli)


async def test_without_the_right_a_process_works_and_is_not_found(tmp_path: Path) -> None:
    user = '{ user: u, password: p, permissions: { subscribe: { deny: ["$SRV.>", "video.services.>"] } } }'
    with server(tmp_path, f"accounts {{ A: {{ jetstream: {{ {JETSTREAM} }}, users: [{user}] }} }}") as variables:
        async with bus.connect(variables["NATS_URL"], name="edge") as link, link.announced(SERVICE):
            await eventually(lambda: link.complaints.denied is not None)
            with pytest.raises(NotFoundError):
                await link.stream(subjects.EVENTS_STREAM)
            assert link.connected
            assert not await found(link._client)
