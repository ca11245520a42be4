"""Every event of the log is counted once, whoever counts it and whatever dies in between."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import msgspec
import pytest

from contracts import subjects
from contracts.broker import Bus, bus
from contracts.job_log import JobLog
from services.state.numbers.counting import Counting
from services.state.numbers.counts import Counts
from services.state.numbers.lock import Lock
from tests.kit.broker import Broker
from tests.kit.lives import end, name, release, start, submit
from tests.kit.waiting import eventually


@asynccontextmanager
async def counting(link: Bus, *, instance: str = "one", dies: bool = False) -> AsyncGenerator[Counting, None]:
    """Count for the length of the block; `dies` ends it without a word, as kill -9 does."""
    stop = asyncio.Event()
    lock = Lock(link, subjects.NUMBERS_BUCKET, subjects.NUMBERS_HOLDER, instance)
    counts = Counting(link, JobLog(link, "state"), lock)
    tasks = [asyncio.create_task(lock.keep(stop)), asyncio.create_task(counts.run(stop))]
    try:
        yield counts
    finally:
        stop.set()
        for task in tasks if dies else ():
            task.cancel()
        await asyncio.wait(tasks)


async def lives(link: Bus, numbers: range) -> None:
    """Two of three jobs succeed, one is cancelled as it waits; every third has a second attempt after a release."""
    for number in numbers:
        job_id = name(number)
        await submit(link, job_id)
        if number % 3 == 1:
            await end(link, job_id, "cancelled")
            continue
        await start(link, job_id)
        if number % 3 == 0:
            await release(link, job_id)
            await start(link, job_id, attempt=2)
        await end(link, job_id)


def is_counted(counts: Counts | None, jobs: int) -> bool:
    return counts is not None and counts.accepted == jobs and sum(counts.ended.values()) == jobs


def check(counts: Counts | None, jobs: int) -> None:
    third = jobs // 3
    assert counts is not None
    assert counts.accepted == jobs
    assert counts.ended == {"succeeded/tiny": 2 * third, "cancelled/none": third}
    assert counts.begun == {"first": 2 * third, "further": third}
    assert counts.released == third
    assert sum(counts.waited["tiny"].counts) == sum(counts.ran["succeeded/tiny"].counts) == 2 * third


async def test_a_log_that_was_there_and_what_comes_is_counted(link: Bus) -> None:
    await lives(link, range(6))
    async with counting(link) as counts:
        await eventually(lambda: is_counted(counts.counts, 6))
        await lives(link, range(6, 9))
        await eventually(lambda: is_counted(counts.counts, 9))
        check(counts.counts, 9)
    assert counts.counts is None, "who does not hold the lock has no counts"


async def test_a_successor_goes_on_where_the_dead_one_was(link: Bus, broker: Broker) -> None:
    for round_ in range(3):
        async with counting(link, instance=f"{round_}", dies=True) as counts:
            await lives(link, range(6 * round_, 6 * round_ + 3))
            await eventually(lambda: counts.counts is not None, within_s=20)
        await lives(link, range(6 * round_ + 3, 6 * round_ + 6))
    async with counting(link, instance="last") as counts:
        await eventually(lambda: is_counted(counts.counts, 18), within_s=20)
        check(counts.counts, 18)


async def test_two_count_once_over_restarts_of_the_broker(link: Bus, broker: Broker) -> None:
    async with (
        bus.connect(broker.url, name="other") as other,
        counting(link, instance="one") as one,
        counting(other, instance="two") as two,
    ):
        for round_ in range(3):
            await lives(link, range(3 * round_, 3 * round_ + 3))
            broker.kill()
            broker.start()
        await eventually(lambda: is_counted(one.counts or two.counts, 9), within_s=30)
        check(one.counts or two.counts, 9)


async def test_a_holder_that_was_overtaken_writes_nothing_and_reads_anew(link: Bus) -> None:
    async with counting(link) as counts:
        await lives(link, range(3))
        await eventually(lambda: is_counted(counts.counts, 3))
        assert counts.counts is not None
        ahead = msgspec.structs.replace(counts.counts, released=40)
        await link.put_last(subjects.NUMBERS_BUCKET, subjects.NUMBERS_COUNTS, msgspec.json.encode(ahead))
        await lives(link, range(3, 6))
        await eventually(lambda: is_counted(counts.counts, 6), within_s=20)
        assert counts.counts is not None
        assert counts.counts.released == 41


async def test_counts_of_another_log_and_unreadable_ones_are_begun_anew(
    link: Bus, capsys: pytest.CaptureFixture[str]
) -> None:
    await lives(link, range(3))
    for there in (msgspec.json.encode(Counts("another log", sequence=10_000, accepted=10_000)), b"nonsense"):
        await link.put_last(subjects.NUMBERS_BUCKET, subjects.NUMBERS_COUNTS, there)
        async with counting(link) as counts:
            await eventually(lambda: is_counted(counts.counts, 3))
            check(counts.counts, 3)
    assert "numbers_unreadable" in capsys.readouterr().out


async def test_what_cannot_be_read_and_what_an_older_cluster_leaves_out_is_counted_as_far_as_it_goes(link: Bus) -> None:
    await submit(link, name(1))
    await start(link, name(1), model=None)
    await end(link, name(1), "failed")
    await submit(link, name(2))
    await link.publish(f"video.events.{name(2)}.started", b"not json", within_s=2)
    await link.publish(f"video.events.{name(2)}.finished.exploded", b"not json", within_s=2)
    async with counting(link) as counts:
        await eventually(lambda: is_counted(counts.counts, 2))
        assert counts.counts is not None
        assert counts.counts.ended == {"failed/unknown": 1, "unknown/unknown": 1}
        assert counts.counts.begun == {"first": 1, "further": 0}
