"""Requests for many messages of a durable."""

import asyncio

from contracts import subjects
from contracts.broker import Bus, Pull
from tests.kit.broker import Broker, all_folded
from tests.kit.waiting import eventually

STREAM, DURABLE = subjects.EVENTS_STREAM, subjects.STATE_DURABLE


async def publish(link: Bus, *payloads: bytes) -> None:
    for payload in payloads:
        await link.publish(f"video.events.{'a' * 32}.step", payload, within_s=10)


async def taken(pull: Pull, count: int) -> list[bytes]:
    """What so many messages say, in however many pieces they come; fewer if the request is over before."""
    found: list[bytes] = []
    while len(found) < count and (some := await pull.take()):
        found += [delivery.data for delivery in some]
    return found


async def floor_is(link: Bus, sequence: int) -> bool:
    floor = (await link.consumer(STREAM, DURABLE)).ack_floor
    return floor is not None and floor.stream_seq == sequence


async def test_a_request_gives_what_waits_and_then_what_comes_until_it_has_given_all(link: Bus) -> None:
    await publish(link, b"1", b"2")
    async with link.pulling(STREAM, DURABLE, limit=4, stop=asyncio.Event()) as pull:
        assert await taken(pull, 2) == [b"1", b"2"]
        await publish(link, b"3", b"4", b"5")
        assert await taken(pull, 3) == [b"3", b"4"]
        assert await pull.take() == []
    async with link.pulling(STREAM, DURABLE, limit=4, stop=asyncio.Event()) as pull:
        assert await taken(pull, 1) == [b"5"]


async def test_what_was_not_taken_goes_to_the_next_at_once(link: Bus) -> None:
    await publish(link, b"1", b"2", b"3")
    async with link.pulling(STREAM, DURABLE, limit=3, stop=asyncio.Event()) as pull:
        await eventually(lambda: pull.inbox.qsize() == 3)
    async with link.pulling(STREAM, DURABLE, limit=3, stop=asyncio.Event()) as pull, asyncio.timeout(2):
        assert sorted(await taken(pull, 3)) == [b"1", b"2", b"3"]


async def test_a_batch_is_acknowledged_as_a_whole(link: Bus) -> None:
    await publish(link, *(b"%d" % n for n in range(300)))
    async with link.pulling(STREAM, DURABLE, limit=300, stop=asyncio.Event()) as pull:
        left = 300
        while batch := await pull.take():
            await link.acknowledge_all(batch)
            left -= len(batch)
            done = 300 - left
            await eventually(lambda done=done: floor_is(link, done))
    assert left == 0
    assert await all_folded(link)


async def test_a_request_for_many_ends_at_once_when_told_to_stop(link: Bus) -> None:
    stop = asyncio.Event()
    async with link.pulling(STREAM, DURABLE, limit=10, stop=stop) as pull:
        waiting = asyncio.create_task(pull.take())
        asyncio.get_running_loop().call_soon(stop.set)
        assert await asyncio.wait_for(waiting, 1) == []


async def test_a_request_ends_with_the_broker_and_the_next_has_what_it_held(broker: Broker, link: Bus) -> None:
    async with link.pulling(STREAM, DURABLE, limit=10, stop=asyncio.Event()) as pull:
        waiting = asyncio.create_task(pull.take())
        broker.kill()
        broker.start()
        assert await asyncio.wait_for(waiting, 10) == []
    await publish(link, b"after")

    async def next_one() -> list[bytes]:
        async with link.pulling(STREAM, DURABLE, limit=10, stop=asyncio.Event()) as pull:
            return await taken(pull, 1)

    assert await eventually(next_one) == [b"after"]
