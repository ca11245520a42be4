"""The queue of a reader: bounded, and honest about what it dropped."""

import asyncio
import time

from services.edge.live.reader import BYTES_MAX, EVENTS_MAX, Reader
from services.edge.live.shown import LiveEvent

WAIT_S = 5.0


def event(sequence: int, size: int = 10) -> LiveEvent:
    return LiveEvent(sequence=sequence, job_id="a", kind="step", data=b"x" * size, ends=False, event=None)


async def taken(reader: Reader) -> list[int | None]:
    return [each.sequence for each in await reader.take(within_s=0)]


async def test_events_are_taken_in_their_order_and_once() -> None:
    reader = Reader("a")
    for number in range(EVENTS_MAX):
        reader.offer(event(number))
    assert await taken(reader) == list(range(EVENTS_MAX))
    assert await taken(reader) == []
    assert not reader.fell_behind


async def test_who_falls_behind_loses_the_queue_and_what_comes_until_a_new_beginning() -> None:
    reader = Reader("a")
    for number in range(EVENTS_MAX + 1):
        reader.offer(event(number))
    reader.offer(event(1000))
    assert reader.fell_behind
    assert await taken(reader) == []
    reader.begin()
    reader.offer(event(1001))
    assert await taken(reader) == [1001]


async def test_few_events_that_are_large_are_too_many_too() -> None:
    reader = Reader("a")
    for number in range(9):
        reader.offer(event(number, BYTES_MAX // 8))
    assert reader.fell_behind


async def test_a_wait_ends_with_an_event_with_a_leave_or_with_its_time() -> None:
    reader = Reader("a")
    waiting = asyncio.create_task(reader.take(within_s=WAIT_S))
    await asyncio.sleep(0)
    reader.offer(event(1))
    assert [each.sequence for each in await waiting] == [1]
    waiting = asyncio.create_task(reader.take(within_s=WAIT_S))
    await asyncio.sleep(0)
    began = time.monotonic()
    reader.leave()
    assert await waiting == []
    assert time.monotonic() - began < WAIT_S / 2
    assert reader.must_leave
    assert await Reader("a").take(within_s=0.01) == []
