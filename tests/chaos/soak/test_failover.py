"""What a connection does while one of three brokers is frozen, or cut off from the others."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from nats.js.errors import NotFoundError

from contracts import subjects
from contracts.broker import REQUEST_WITHIN_S, Bus, Published, Unavailable, bus
from contracts.broker.client import SILENCE_S_MAX
from ops.provision import Settings, provision
from services.edge.canary import canary
from tests.chaos.soak.brokers import NODES, Brokers, Node, three_brokers
from tests.chaos.soak.network import network, unavailable
from tests.kit.waiting import eventually

FAULT_S = 12.0
MESSAGES = 40
KEY = "k"
JOB_ID, OTHER_ID = "a" * 32, "b" * 32


async def filled(brokers: Brokers) -> None:
    """Provision, and leave something to read in each kind of stream."""
    async with bus.connect(brokers.url, name="filler") as link:
        await provision(link, Settings(nats_url=brokers.url, nats_replicas=NODES))
        await link.publish(subjects.job(JOB_ID), b"{}", within_s=10)
        await link.put_last(subjects.STATUS_BUCKET, KEY, b"1")
        for number in range(MESSAGES):
            await link.publish(f"video.events.{JOB_ID}.step", str(number).encode(), within_s=10)
    await eventually(lambda: replicated(brokers))


async def replicated(brokers: Brokers) -> bool:
    """Whether the replicas of every stream hold as many messages as one another."""
    counts = dict[str, set[int]]()
    for node in brokers.nodes:
        for account in (await asyncio.to_thread(node.says, "jsz?streams=1")).get("account_details") or []:
            for stream in account["stream_detail"]:
                counts.setdefault(stream["name"], set()).add(stream["state"]["messages"])
    return all(len(each) == 1 for each in counts.values())


def leader_of(brokers: Brokers, stream: str) -> Node:
    """The broker that leads a stream."""
    for account in brokers.nodes[0].says("jsz?streams=1").get("account_details") or []:
        for detail in account["stream_detail"]:
            if detail["name"] == stream and (name := detail["cluster"].get("leader")):
                return next(node for node in brokers.nodes if node.name == name)
    raise AssertionError(f"{stream} has no leader")


def reads(link: Bus) -> dict[str, Callable[[], Awaitable[Any]]]:
    """Every way to read, by name."""
    return {
        "leader": lambda: link.last(subjects.EVENTS_STREAM, subjects.events_of(JOB_ID)),
        "direct": lambda: link.last(subjects.EVENTS_STREAM, subjects.events_of(JOB_ID), leader=False),
        "nothing there": lambda: link.last(subjects.EVENTS_STREAM, subjects.events_of(OTHER_ID), leader=False),
        "get": lambda: link.get(subjects.STATUS_BUCKET, KEY),
        "read": lambda: link.read(subjects.EVENTS_STREAM, subjects.events_of(JOB_ID)),
        "values": lambda: link.values(subjects.STATUS_BUCKET),
        "count": lambda: link.count_after(subjects.JOBS_STREAM, subjects.job(JOB_ID), 1),
        "subjects": lambda: link.subjects(subjects.EVENTS_STREAM, subjects.events_of(JOB_ID)),
        "stream": lambda: link.stream(subjects.JOBS_STREAM),
        "consumer": lambda: link.consumer(subjects.JOBS_STREAM, subjects.INFERENCE_DURABLE),
    }


async def again_and_again(act: Callable[[], Awaitable[Any]], until: float) -> list[str]:
    """What went wrong, up to then."""
    wrong: list[str] = []
    while time.monotonic() < until:
        try:
            await act()
        except Unavailable as error:
            wrong.append(repr(error))
        await asyncio.sleep(0.05)
    return wrong


@pytest.mark.timeout(180)
async def test_nothing_is_unavailable_while_the_leader_of_a_stream_is_frozen(tmp_path: Path) -> None:
    async with three_brokers(tmp_path) as brokers:
        await filled(brokers)
        frozen = leader_of(brokers, subjects.EVENTS_STREAM)
        other = next(node for node in brokers.nodes if node is not frozen)
        async with bus.connect(other.url, name="reader") as link:
            expected = {name: await act() for name, act in reads(link).items() if name not in ("stream", "consumer")}

            def publish() -> Awaitable[Published]:
                return link.publish(f"video.events.{OTHER_ID}.step", b"", within_s=REQUEST_WITHIN_S)

            with frozen.frozen():
                until = time.monotonic() + FAULT_S
                acts = {**reads(link), "publish": publish}
                wrong = await asyncio.gather(*(again_and_again(act, until) for act in acts.values()))
            assert dict(zip(acts, wrong, strict=True)) == {name: [] for name in acts}
            await brokers.together()
            again = {name: await reads(link)[name]() for name in expected if name != "nothing there"}
            assert again == {name: value for name, value in expected.items() if name != "nothing there"}


@pytest.mark.timeout(180)
async def test_a_direct_read_asks_the_leader_at_once_while_another_replica_is_frozen(tmp_path: Path) -> None:
    async with three_brokers(tmp_path) as brokers:
        await filled(brokers)
        leader = leader_of(brokers, subjects.EVENTS_STREAM)
        frozen = next(node for node in brokers.nodes if node is not leader)
        slowest_s = 0.0
        async with bus.connect(leader.url, name="reader") as link:
            with frozen.frozen():
                until = time.monotonic() + FAULT_S / 2  # the route to it is given up then
                while time.monotonic() < until:
                    began = time.monotonic()
                    found = await link.last(subjects.EVENTS_STREAM, subjects.events_of(JOB_ID), leader=False)
                    slowest_s = max(slowest_s, time.monotonic() - began)
                    assert found is not None and found.data == str(MESSAGES - 1).encode()
        assert slowest_s < 1.5  # 0.5 s on a quiet machine


@pytest.mark.timeout(180)
async def test_an_edge_is_not_ready_without_a_quorum_though_its_broker_knows_the_streams(tmp_path: Path) -> None:
    async with three_brokers(tmp_path) as brokers:
        await filled(brokers)
        alone, *others = brokers.nodes
        async with bus.connect(alone.url, name="edge") as link, canary(link, "c" * 32) as here:
            await eventually(lambda: here.objection is None)
            for node in others:
                node.kill()
            await eventually(lambda: here.objection is not None, within_s=15)
            assert here.objection == "the broker takes no writes"
            assert (await link.stream(subjects.JOBS_STREAM, within_s=30)).config.name == subjects.JOBS_STREAM
            for node in others:
                node.start()
            await eventually(lambda: here.objection is None, within_s=30)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("direction", ["both ways", "it is not heard", "it hears nothing"])
async def test_a_client_leaves_a_broker_that_is_cut_off_though_it_answers_pings(tmp_path: Path, direction: str) -> None:
    if (reason := unavailable()) is not None:
        pytest.skip(f"NO BROKER WAS CUT OFF: {reason}")
    with network() as net:
        async with three_brokers(tmp_path, net.places()) as brokers, bus.connect(brokers.url, name="mover") as link:
            await filled(brokers)
            left = await eventually(lambda: next((node for node in brokers.nodes if "mover" in node.clients()), None))
            assert left is not None
            cut_off = net.members[brokers.nodes.index(left)]
            others = [member for member in net.members if member != cut_off]
            with (
                net.cut([cut_off], others if direction != "it hears nothing" else []),
                net.cut(others, [cut_off] if direction != "it is not heard" else []),
            ):
                began = time.monotonic()
                await link.publish(f"video.events.{OTHER_ID}.step", b"", within_s=30)
                assert time.monotonic() - began < 15
                assert "mover" in [name for node in brokers.nodes if node is not left for name in node.clients()]


@pytest.mark.timeout(180)
async def test_brokers_that_have_just_started_are_provisioned_as_soon_as_they_have_met(tmp_path: Path) -> None:
    brokers = Brokers(tmp_path)
    try:
        for node in brokers.nodes:
            node.start()
        async with bus.connect(brokers.url, name="provision") as link:
            await provision(link, Settings(nats_url=brokers.url, nats_replicas=NODES))
            assert (await link.stream(subjects.CANARY_STREAM)).config.num_replicas == NODES
    finally:
        brokers.kill()


@pytest.mark.timeout(180)
async def test_a_client_of_brokers_that_are_not_provisioned_stays_where_it_is(tmp_path: Path) -> None:
    async with three_brokers(tmp_path) as brokers, bus.connect(brokers.url, name="waiter") as link:
        until = time.monotonic() + 1.5 * SILENCE_S_MAX
        while time.monotonic() < until:
            with pytest.raises(Unavailable):
                await link.publish(subjects.job(JOB_ID), b"{}", within_s=1)
            with pytest.raises(NotFoundError):
                await link.stream(subjects.JOBS_STREAM)
        assert link._client.stats["reconnects"] == 0


@pytest.mark.timeout(180)
async def test_a_client_with_one_server_stays_there_and_works_on_when_the_others_are_back(tmp_path: Path) -> None:
    async with three_brokers(tmp_path) as brokers:
        await filled(brokers)
        alone, *others = brokers.nodes
        async with bus.connect(alone.url, name="stayer", wait=True) as link:
            with others[0].frozen(), others[1].frozen():
                with pytest.raises(Unavailable):
                    await link.publish(f"video.events.{OTHER_ID}.step", b"", within_s=8)
                assert link.connected
                assert "stayer" in alone.clients()
            await link.publish(f"video.events.{OTHER_ID}.step", b"", within_s=30)


@pytest.mark.timeout(180)
async def test_a_client_of_brokers_without_a_quorum_changes_server_at_most_every_few_seconds(tmp_path: Path) -> None:
    async with three_brokers(tmp_path) as brokers:
        await filled(brokers)
        async with bus.connect(brokers.url, name="flapper") as link:
            at = await eventually(lambda: next((node for node in brokers.nodes if "flapper" in node.clients()), None))
            assert at is not None
            dead = [node for node in brokers.nodes if node is not at]
            for node in dead:
                node.kill()
            began = time.monotonic()
            with pytest.raises(Unavailable):
                await link.publish(f"video.events.{OTHER_ID}.step", b"", within_s=FAULT_S)
            changes = link._client.stats["reconnects"]
            assert changes <= (time.monotonic() - began) / 4
            for node in dead:
                node.start()
            await brokers.together()
            await link.publish(f"video.events.{OTHER_ID}.step", b"", within_s=30)
