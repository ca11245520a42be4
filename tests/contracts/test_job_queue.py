"""Positions in the queue, as one process sees them."""

import asyncio

from msgspec.structs import replace
from nats.js.api import ConsumerInfo

from contracts import subjects
from contracts.broker import Bus, bus
from contracts.events import JobSubmitted
from contracts.job_queue import JobQueue
from tests.kit.builders import submitted
from tests.kit.waiting import eventually

IDS = [f"{number:032x}" for number in range(4)]


def job(job_id: str) -> JobSubmitted:
    return replace(submitted(), job_id=job_id)


async def filled(queue: JobQueue) -> None:
    for job_id in IDS:
        await queue.add(job(job_id), within_s=2)


async def positions(queue: JobQueue) -> list[int | None]:
    return [await queue.position(job_id) for job_id in IDS]


async def test_positions_are_exact_after_what_this_process_adds_and_at_once_after_what_it_removes(link: Bus) -> None:
    queue = JobQueue(link)
    for job_id, place in zip(IDS, (1, 2, 3, 4), strict=True):
        await queue.add(job(job_id), within_s=2)

        async def in_place(job_id: str = job_id, place: int = place) -> bool:
            return await queue.position(job_id) == place

        await eventually(in_place)  # the broker's count of what is pending may be late after a publish
    for job_id, after in ((IDS[1], [1, None, 2, 3]), (IDS[0], [None, None, 1, 2])):
        queued = await queue.find(job_id)
        assert queued is not None
        await queue.remove(queued)
        assert await positions(queue) == after


async def test_positions_are_exact_soon_after_what_another_process_removes(link: Bus) -> None:
    queue, other = JobQueue(link), JobQueue(link)
    await filled(queue)
    assert await positions(queue) == [1, 2, 3, 4]
    queued = await other.find(IDS[0])
    assert queued is not None
    await other.remove(queued)

    async def exact() -> bool:
        return await positions(queue) == [None, 1, 2, 3]

    await eventually(exact)


async def test_a_message_that_has_taken_the_place_of_a_job_is_not_taken_for_it(link: Bus) -> None:
    queue = JobQueue(link)
    await queue.add(job(IDS[0]), within_s=2)
    assert await queue.position(IDS[0]) == 1
    config = (await link.stream(subjects.JOBS_STREAM)).config
    await link.admin.delete_stream(subjects.JOBS_STREAM)  # as after the loss of the disk
    await link.admin.add_stream(config)
    await link.publish(subjects.job(IDS[1]), b"{}", within_s=2)
    assert await queue.position(IDS[0]) is None


async def test_a_place_is_told_while_the_consumer_of_the_queue_is_missing(link: Bus) -> None:
    queue = JobQueue(link)
    await filled(queue)
    await link.admin.delete_consumer(subjects.JOBS_STREAM, subjects.INFERENCE_DURABLE)
    assert await positions(queue) == [1, 2, 3, 4]


async def test_a_job_that_was_requeued_is_found_at_its_new_place(link: Bus) -> None:
    queue = JobQueue(link)
    await filled(queue)
    assert await positions(queue) == [1, 2, 3, 4]
    lost = await queue.find(IDS[0])
    assert lost is not None
    await queue.remove(lost)
    await queue.requeue(IDS[0], lost.data, within_s=2)
    assert await positions(queue) == [4, 1, 2, 3]


async def test_all_who_ask_for_positions_at_once_share_the_numbers_of_the_consumer(link: Bus) -> None:
    asked = 0

    class Counting(bus.Bus):
        async def consumer(self, stream: str, durable: str) -> ConsumerInfo:
            nonlocal asked
            asked += 1
            return await super().consumer(stream, durable)

    link.__class__ = Counting
    queue = JobQueue(link)
    await filled(queue)
    assert await asyncio.gather(*(queue.position(job_id) for job_id in IDS)) == [1, 2, 3, 4]
    assert asked == 1
