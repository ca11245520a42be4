"""The fences of a job's log on three brokers: exactly one is told that it has won, with the product's own message ids.

Each publisher has a connection to a broker of its own, as in production.
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from contracts import subjects, wire
from contracts.broker import Bus, Expect, bus
from contracts.events import AnyEnding, JobDeleted
from contracts.job_deletion import bury
from contracts.job_log import JobLog
from ops import provision
from ops.provision import Settings
from tests.chaos.soak.brokers import NODES, Brokers, three_brokers
from tests.chaos.soak.partition import stepping_down
from tests.kit.builders import cancelled, started, succeeded

pytestmark = pytest.mark.timeout(300)

PAIRS = 100
AT_ONCE = 10


@asynccontextmanager
async def connections(brokers: Brokers) -> AsyncGenerator[list[Bus], None]:
    """One to each broker, on provisioned streams of three replicas."""
    async with AsyncExitStack() as stack:
        links = [
            await stack.enter_async_context(bus.connect(node.url, name=f"link-{node.name}")) for node in brokers.nodes
        ]
        settings = Settings(nats_url=brokers.url, nats_monitor_urls=brokers.monitor_urls, nats_replicas=NODES)
        await provision.provision(links[0], settings)
        yield links


def told_it_won(answers: list[AnyEnding], racing: list[AnyEnding]) -> int:
    return sum(answer == own for answer, own in zip(answers, racing, strict=True))


@pytest.mark.parametrize("disturbed", [False, True], ids=["calm", "leaders stepping down"])
async def test_of_two_endings_and_of_two_starts_exactly_one_publisher_is_told_that_it_won(
    tmp_path: Path, disturbed: bool
) -> None:
    async with three_brokers(tmp_path) as brokers, connections(brokers) as links, AsyncExitStack() as disturbance:
        if disturbed:
            await disturbance.enter_async_context(stepping_down(brokers.url))
        at_once = asyncio.Semaphore(AT_ONCE)

        async def race_of_endings(number: int) -> None:
            job_id = f"{number:032x}"
            racing = [replace(succeeded(1, 10), job_id=job_id), replace(cancelled(10), job_id=job_id)]
            logs = [JobLog(links[(number + k) % NODES], name) for k, name in enumerate(("rank", "edge"))]
            async with at_once:
                answers = await asyncio.gather(
                    *(log.publish_ending(each) for log, each in zip(logs, racing, strict=True))
                )
            assert answers[0] == answers[1], "the two publishers were told different endings"
            assert told_it_won(list(answers), list(racing)) == 1

        async def race_of_starts(number: int) -> None:
            job_id = f"{PAIRS + number:032x}"
            starts = [replace(started(1, 10), job_id=job_id, instance=name) for name in ("a", "b")]
            logs = [JobLog(links[(number + k) % NODES], start.instance) for k, start in enumerate(starts)]
            async with at_once:
                taken = await asyncio.gather(
                    *(log.append(start, expect=Expect(0)) for log, start in zip(logs, starts, strict=True))
                )
            assert sorted(taken) == [False, True]

        await asyncio.gather(*(race_of_endings(n) for n in range(PAIRS)), *(race_of_starts(n) for n in range(PAIRS)))
        stored = await links[0].read(subjects.EVENTS_STREAM, subjects.ALL_ENDINGS)
        assert sorted(subjects.job_id_of(each.subject) for each in stored) == [f"{n:032x}" for n in range(PAIRS)]


@pytest.mark.parametrize("disturbed", [False, True], ids=["calm", "leaders stepping down"])
async def test_a_deletion_is_the_last_ending_whatever_races_with_it(tmp_path: Path, disturbed: bool) -> None:
    """Two edges delete a job as a cluster ends it: one deletion is stored, and nothing after it."""
    async with three_brokers(tmp_path) as brokers, connections(brokers) as links, AsyncExitStack() as disturbance:
        if disturbed:
            await disturbance.enter_async_context(stepping_down(brokers.url))
        at_once = asyncio.Semaphore(AT_ONCE)

        async def race(number: int) -> None:
            job_id = f"{number:032x}"
            logs = [JobLog(links[(number + k) % NODES], name) for k, name in enumerate(("rank", "edge", "other edge"))]
            async with at_once:
                await asyncio.gather(
                    logs[0].publish_ending(replace(succeeded(1, 10), job_id=job_id)),
                    *(bury(log, JobDeleted(job_id=job_id, at=float(at))) for at, log in enumerate(logs[1:], start=1)),
                )
                late = await logs[0].publish_ending(replace(cancelled(20), job_id=job_id))
            assert isinstance(late, JobDeleted)

        await asyncio.gather(*map(race, range(PAIRS)))
        stored = await links[0].read(subjects.EVENTS_STREAM, subjects.ALL_DELETIONS)
        assert sorted(subjects.job_id_of(each.subject) for each in stored) == [f"{n:032x}" for n in range(PAIRS)]


async def test_an_ending_under_the_winners_very_message_id_has_not_won(tmp_path: Path) -> None:
    """What a clustered stream answers then is `duplicate`, as if it were stored."""
    async with three_brokers(tmp_path) as brokers, connections(brokers) as links:
        one, other = succeeded(1, 10), cancelled(10)
        expect = Expect(0, subjects.endings_of(one.job_id))
        log = JobLog(links[0], "rank")
        assert await log.append(one, expect=expect, message_id="same")
        answer = await links[1].admin._nc.request(
            subjects.event(other),
            wire.encode(other),
            timeout=5,
            headers={
                "Nats-Msg-Id": "same",
                "Nats-Expected-Last-Subject-Sequence": "0",
                "Nats-Expected-Last-Subject-Sequence-Subject": subjects.endings_of(one.job_id),
            },
        )
        assert json.loads(answer.data)["duplicate"], "the premise of this test"
        assert not await JobLog(links[1], "edge").append(other, expect=expect, message_id="same")
