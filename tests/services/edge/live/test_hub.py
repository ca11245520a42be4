"""The hub hands on every event of the log once and in order, whatever happens to live messages and to the broker."""

import asyncio

import pytest

from contracts import subjects
from contracts.broker import Bus, Stored
from services.edge.errors import Overloaded
from services.edge.live.hub import CHECK_EVERY_S
from services.edge.live.reader import EVENTS_MAX
from services.edge.live.readers import READERS_MAX, readers_for
from tests.kit.broker import Broker
from tests.kit.builders import ID
from tests.kit.proxy import Proxy
from tests.kit.waiting import eventually
from tests.services.edge.live.streams import HEARD_WITHIN_S, heard, hub_at, life, publish, steps

OTHER = "f" * 32


async def in_log(link: Bus, pattern: str = subjects.ALL_EVENTS) -> list[int]:
    return [message.sequence for message in await link.read(subjects.EVENTS_STREAM, pattern)]


async def test_each_reader_hears_its_job_and_who_follows_all_hears_all(broker: Broker, link: Bus) -> None:
    await publish(link, steps(ID, 1, 3))
    async with hub_at(broker.url) as hub, hub.joined(ID) as one, hub.joined(OTHER) as other, hub.joined(None) as every:
        before = await in_log(link)
        assert hub.position == before[-1]
        await publish(link, [*life(OTHER), *steps(ID, 4, 3)])
        everything = [number for number in await in_log(link) if number > before[-1]]
        assert await heard(every, len(everything)) == everything
        for reader, job_id in ((one, ID), (other, OTHER)):
            own = [number for number in await in_log(link, subjects.events_of(job_id)) if number > before[-1]]
            assert await heard(reader, len(own)) == own


@pytest.mark.parametrize("fault", ["missed", "twice", "late", "all missed", "forged"])
async def test_every_event_is_handed_on_once_and_in_order_though_live_messages_are(
    broker: Broker, link: Bus, fault: str
) -> None:
    """Faults are put between the broker and the hub: the live messages of every second event are tampered with."""
    async with hub_at(broker.url) as hub:
        call = hub._on_live
        held: list[Stored] = []
        count = 0

        def tampered(message: Stored) -> None:
            nonlocal count
            count += 1
            if fault == "all missed" or (fault == "missed" and count % 2):
                return
            if fault == "late" and count % 2:
                held.append(message)
                return
            if fault == "forged":
                call(Stored("x", message.sequence, b"{}", 0.0))
                call(Stored(message.subject, message.sequence + 1000, b"{}", 0.0))
            call(message)
            if fault == "twice":
                call(message)
            while held:
                call(held.pop())

        hub._on_live = tampered  # pyright: ignore[reportAttributeAccessIssue]
        hub._broker._client._taps.clear()
        stop = asyncio.Event()
        await hub._broker.hear(subjects.ALL_LIVE, hub._on_live, stop=stop)
        async with hub.joined(None) as reader:
            await publish(link, [*steps(ID, 1, 40), *life(OTHER)])
            expected = await in_log(link)
            assert await heard(reader, len(expected)) == expected
            assert await reader.take(within_s=0) == []


async def test_a_restart_of_the_broker_loses_nothing(broker: Broker, link: Bus) -> None:
    async with hub_at(broker.url) as hub, hub.joined(None) as reader:
        await publish(link, steps(ID, 1, 5))
        broker.kill()
        broker.start()
        await publish(link, steps(ID, 6, 5))
        expected = await in_log(link)
        assert await heard(reader, len(expected)) == expected
        await publish(link, steps(ID, 11, 1))
        assert await heard(reader, 1) == (await in_log(link))[-1:]


async def test_what_was_stored_while_the_edge_was_cut_off_is_caught_up_on(broker: Broker, link: Bus) -> None:
    proxy = Proxy(broker.port)
    await proxy.start()
    try:
        async with hub_at(broker.url_at(proxy.port)) as hub, hub.joined(None) as reader:
            proxy.set("drop")
            await publish(link, steps(ID, 1, 30))
            proxy.set("pass")
            expected = await in_log(link)
            assert await heard(reader, len(expected)) == expected
    finally:
        await proxy.stop()


async def test_deleted_events_leave_a_gap_that_is_passed(broker: Broker, link: Bus) -> None:
    async with hub_at(broker.url) as hub, hub.joined(OTHER) as reader:
        await publish(link, steps(ID, 1, 5))
        await link.admin.purge_stream(subjects.EVENTS_STREAM, subject=subjects.events_of(ID))
        last = (await link.stream(subjects.EVENTS_STREAM)).state.last_seq
        await eventually(lambda: hub.position == last)
        await publish(link, steps(OTHER, 1, 1))
        assert await heard(reader, 1) == [last + 1]


async def test_a_log_that_begins_anew_sends_all_readers_away(broker: Broker, link: Bus) -> None:
    async with hub_at(broker.url) as hub, hub.joined(ID) as reader:
        await publish(link, steps(ID, 1, 5))
        await heard(reader, 5)
        config = (await link.stream(subjects.EVENTS_STREAM)).config
        await link.admin.delete_stream(subjects.EVENTS_STREAM)
        await link.admin.add_stream(config)
        await publish(link, steps(ID, 6, 1))
        await eventually(lambda: reader.must_leave, within_s=5 * CHECK_EVERY_S)
        async with hub.joined(ID) as again:
            await publish(link, steps(ID, 7, 1))
            assert await heard(again, 1) == [2]


async def test_a_slow_reader_falls_behind_and_no_other_does(broker: Broker, link: Bus) -> None:
    async with hub_at(broker.url) as hub, hub.joined(ID) as slow, hub.joined(ID) as quick:
        await publish(link, steps(ID, 1, EVENTS_MAX // 2))
        first = await heard(quick, EVENTS_MAX // 2)
        await publish(link, steps(ID, 1 + EVENTS_MAX // 2, EVENTS_MAX // 2 + 1))
        assert first + await heard(quick, EVENTS_MAX // 2 + 1) == await in_log(link)
        assert slow.fell_behind
        assert not quick.fell_behind


async def test_readers_are_limited_and_a_place_is_free_again(broker: Broker, link: Bus) -> None:
    async with hub_at(broker.url, readers_max=2) as hub:
        async with hub.joined(ID), hub.joined(None):
            assert len(hub.readers) == 2
            with pytest.raises(Overloaded, match="2"):
                async with hub.joined(ID):
                    pass
        assert len(hub.readers) == 0
        async with hub.joined(ID) as reader:
            await publish(link, steps(ID, 1, 1))
            assert await heard(reader, 1) == [1]


async def test_all_must_leave_when_the_edge_stops(broker: Broker, link: Bus) -> None:
    draining = asyncio.Event()
    async with hub_at(broker.url, draining=draining) as hub, hub.joined(ID) as early:
        draining.set()
        await eventually(lambda: early.must_leave)
        async with hub.joined(None) as late:
            assert late.must_leave


@pytest.mark.parametrize(("connections", "readers"), [(1000, READERS_MAX), (10_000, READERS_MAX), (100, 60), (1, 0)])
def test_readers_leave_connections_to_others(connections: int, readers: int) -> None:
    assert readers_for(connections) == readers


async def test_a_move_of_any_job_wakes_who_waits_for_a_place(broker: Broker, link: Bus) -> None:
    async with hub_at(broker.url) as hub, hub.joined(ID, hears_moves=True) as waiting, hub.joined(ID) as other:
        moved, still = (asyncio.create_task(each.take(within_s=HEARD_WITHIN_S)) for each in (waiting, other))
        await publish(link, life(OTHER, steps=1))
        assert await asyncio.wait_for(moved, HEARD_WITHIN_S) == []
        assert not still.done()
        still.cancel()
