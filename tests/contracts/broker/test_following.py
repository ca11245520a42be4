"""Whoever follows a stream gets each message once and in order, also over a restart of the broker."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager

from contracts import subjects
from contracts.broker import Bus
from contracts.broker.following import follow
from tests.kit.broker import Broker
from tests.kit.waiting import eventually

STARTS, ENDINGS = subjects.ALL_STARTS, subjects.ALL_ENDINGS


@asynccontextmanager
async def followed(link: Bus, *, after: int = 0) -> AsyncGenerator[list[tuple[int, str]], None]:
    """A list that grows by the sequence and the kind of each message."""
    found: list[tuple[int, str]] = []
    stop = asyncio.Event()

    async def read() -> None:
        batches = follow(link, subjects.EVENTS_STREAM, (STARTS, ENDINGS), after=after, stop=stop)
        async with aclosing(batches):
            async for batch in batches:
                found.extend((each.sequence, each.subject.split(".")[3]) for each in batch)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(read())
        yield found
        stop.set()


async def publish(link: Bus, job: int, *kinds: str) -> None:
    for kind in kinds:
        await link.publish(f"video.events.{job:032x}.{kind}", b"{}", within_s=10)


def has(found: list[tuple[int, str]], count: int) -> Callable[[], bool]:
    return lambda: len(found) >= count


async def test_only_the_patterns_come_from_the_sequence_on_and_in_order(link: Bus) -> None:
    for job in range(3):
        await publish(link, job, "started", "step", "step", "finished.failed")
    async with followed(link, after=1) as found:
        await eventually(has(found, 5))
        await publish(link, 3, "step", "started")
        await eventually(has(found, 6))
    assert found == [
        (4, "finished"),
        (5, "started"),
        (8, "finished"),
        (9, "started"),
        (12, "finished"),
        (14, "started"),
    ]


async def test_none_comes_twice_and_none_is_left_out_over_restarts_of_the_broker(link: Bus, broker: Broker) -> None:
    async with followed(link) as found:
        for round_ in range(3):
            for job in range(20):
                await publish(link, 100 * round_ + job, "started")
            broker.kill()
            broker.start()
        await publish(link, 999, "finished.cancelled")
        await eventually(has(found, 61), within_s=30)
    assert [sequence for sequence, _ in found] == list(range(1, 62))


async def test_more_than_are_held_at_once_all_come(link: Bus) -> None:
    await asyncio.gather(*(publish(link, job, "started") for job in range(300)))
    async with followed(link) as found:
        await eventually(has(found, 300), within_s=20)
    assert [sequence for sequence, _ in found] == list(range(1, 301))
