"""The list of jobs: pages, cursors and filters, over whatever was purged from the index."""

import asyncio
import time
from pathlib import Path

import aiohttp
import pytest
from msgspec.structs import replace

from contracts import subjects, wire
from contracts.broker import Bus, Unavailable
from contracts.events import Event
from contracts.job_deletion import bury
from contracts.job_log import JobLog
from contracts.status import State
from contracts.stores import Folder
from ops import provision
from services.edge import job_list
from services.edge.errors import NotFound
from services.edge.job_index import Order
from services.edge.job_list import Page
from services.edge.jobs import Jobs
from services.state.deletions import Deletions
from tests.kit.broker import Broker, provision_settings
from tests.kit.builders import cancelled, deleted, failed, started, submitted, succeeded
from tests.kit.edge import PROMPT, Edge, submit
from tests.kit.waiting import eventually
from tests.services.state.test_materialise import caught_up, publish, state

BEGAN = time.time()
RETENTION_S = 1800.0
SOURCED_WITHIN_S = 40.0
"""After a restart nats-server looks every 10 s or so whether a source has to be asked again."""


def job_id(n: int) -> str:
    return f"{n:032x}"


def of(n: int, event: Event) -> Event:
    return replace(event, job_id=job_id(n))


@pytest.fixture
def jobs(link: Bus, tmp_path: Path) -> Jobs:
    return Jobs(link, Folder(tmp_path / "videos"), Folder(tmp_path / "scratch"), retention_s=RETENTION_S)


async def submit_many(link: Bus, count: int) -> None:
    """Have the log hold so many submissions, a second apart, and wait until the index has them."""
    await publish(link, *(of(n, submitted(BEGAN + n)) for n in range(count)))
    await indexed(link, count)


async def indexed(link: Bus, count: int) -> None:
    async def all_there() -> bool:
        return (await link.stream(subjects.bucket_stream(subjects.INDEX_BUCKET))).state.messages == count

    await eventually(all_there)


def ids(page: Page) -> list[int]:
    return [int(job.status.job_id, 16) for job in page.jobs]


async def all_pages(jobs: Jobs, limit: int, order: Order = "desc", status: tuple[State, ...] = ()) -> list[int]:
    """Every job that the list has, page by page."""
    found, after = list[int](), None
    while True:
        page = await jobs.page(limit=limit, after=after, order=order, status=status)
        assert len(page.jobs) == limit or not page.has_more
        found += ids(page)
        if not page.has_more:
            return found
        after = page.jobs[-1].status.job_id


@pytest.mark.parametrize("limit", [1, 7, 20, 100])
async def test_the_pages_are_all_jobs_newest_first_each_once(link: Bus, jobs: Jobs, limit: int) -> None:
    await submit_many(link, 40)
    assert await all_pages(jobs, limit) == [*reversed(range(40))]
    assert await all_pages(jobs, limit, "asc") == [*range(40)]


async def test_an_empty_list_is_an_empty_page(jobs: Jobs) -> None:
    assert await jobs.page(limit=20) == Page([], has_more=False)
    assert await jobs.page(limit=20, order="asc", status=("Failed",)) == Page([], has_more=False)


@pytest.mark.parametrize("after", [job_id(77), "*", ">", "", "no id"])
async def test_a_page_after_an_unknown_job_is_not_found(link: Bus, jobs: Jobs, after: str) -> None:
    await submit_many(link, 3)
    with pytest.raises(NotFound):
        await jobs.page(limit=20, after=after)


async def test_a_page_goes_on_where_it_was_whatever_comes_meanwhile(link: Bus, jobs: Jobs) -> None:
    await submit_many(link, 10)
    first = await jobs.page(limit=4)
    await publish(link, *(of(n, submitted(BEGAN + n)) for n in range(10, 15)))
    await indexed(link, 15)
    second = await jobs.page(limit=4, after=first.jobs[-1].status.job_id)
    assert (ids(first), ids(second)) == ([9, 8, 7, 6], [5, 4, 3, 2])


@pytest.mark.parametrize("kept", [range(0, 200, 50), range(200, 10), range(3), range(190, 193)])
async def test_pages_are_whole_however_much_was_purged_between(link: Bus, jobs: Jobs, kept: range) -> None:
    await submit_many(link, 200)
    for n in set(range(199)) - set(kept):  # the last entry stays, so that the stream is as long as it was
        stream, bucket = subjects.bucket_stream(subjects.INDEX_BUCKET), subjects.INDEX_BUCKET
        await link.purge(stream, subjects.bucket_key(bucket, job_id(n)))
    left = sorted({*kept, 199})
    for limit in (1, 3, 20):
        assert await all_pages(jobs, limit) == left[::-1]
        assert await all_pages(jobs, limit, "asc") == left


async def test_a_job_is_listed_as_it_stands_with_state_or_without(link: Bus, jobs: Jobs) -> None:
    await submit_many(link, 6)
    endings: list[Event] = [succeeded(1, BEGAN + 9), failed(1, BEGAN + 9), cancelled(BEGAN + 9)]
    await publish(link, *(of(n, ending) for n, ending in enumerate(endings)), of(3, started(1, BEGAN)))
    await bury(JobLog(link, "edge"), replace(deleted(BEGAN + 9), job_id=job_id(4)))
    states = {0: "Succeed", 1: "Failed", 2: "Cancelled", 3: "InProgress", 5: "InQueue"}
    without = await jobs.page(limit=20)
    async with state(link, retention_s=RETENTION_S):
        await caught_up(link)
    for page in (without, await jobs.page(limit=20)):
        assert {int(job.status.job_id, 16): job.status.status for job in page.jobs} == states
        for job in page.jobs:
            assert job.submitted is not None
            assert job.submitted.job_id == job.status.job_id
            assert (job.status.expires_at is not None) == job.status.ended
            assert job.status.created_at == job.submitted.created_at


@pytest.mark.parametrize("run_max", [2, job_list.RUN_MAX])
@pytest.mark.parametrize("status", [("Failed",), ("Succeed",), ("Failed", "Cancelled"), ("InQueue", "InProgress")])
async def test_a_list_of_some_states_has_those_jobs_alone_by_pages(
    broker: Broker, link: Bus, jobs: Jobs, monkeypatch: pytest.MonkeyPatch, *, status: tuple[State, ...], run_max: int
) -> None:
    """Small runs: jobs of the states are looked for in the log's own lists then."""
    monkeypatch.setattr(job_list, "RUN_MAX", run_max)
    await provision.provision(link, provision_settings(broker, max_concurrent_tasks=40))
    endings: dict[str, Event] = {
        "Succeed": succeeded(1, BEGAN),
        "Failed": failed(1, BEGAN),
        "Cancelled": cancelled(BEGAN),
    }
    cycle: tuple[State, ...] = ("Succeed", "Failed", "Succeed", "Cancelled", "InQueue")
    states = [cycle[n % len(cycle)] for n in range(40)]
    for n in range(40):
        event = of(n, submitted(BEGAN + n))
        waits = states[n] == "InQueue"
        await link.publish(subjects.job(job_id(n)) if waits else subjects.event(event), wire.encode(event), within_s=2)
    await indexed(link, 40)
    await publish(link, *(of(n, endings[states[n]]) for n in range(40) if states[n] in endings))
    wanted = [n for n in range(40) if states[n] in status]
    assert await all_pages(jobs, 3, status=status) == wanted[::-1]
    assert await all_pages(jobs, 3, "asc", status) == wanted


async def test_a_list_of_some_time_has_the_jobs_that_were_created_then(
    link: Bus, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_list, "CLOCKS_DIFFER_S", 3.0)
    await submit_many(link, 40)
    for since, until in ((None, BEGAN + 10), (BEGAN + 10, None), (BEGAN + 10, BEGAN + 20), (BEGAN + 100, None)):
        page = await jobs.page(limit=100, since=since, until=until)
        assert ids(page) == [n for n in reversed(range(40)) if (since or 0) <= BEGAN + n < (until or BEGAN + 1000)]


async def test_a_job_that_the_log_has_forgotten_is_not_listed(link: Bus, jobs: Jobs) -> None:
    await submit_many(link, 3)
    await link.admin.purge_stream(subjects.EVENTS_STREAM, subject=subjects.events_of(job_id(1)))
    assert ids(await jobs.page(limit=20)) == [2, 0]


async def test_what_is_no_submission_or_of_a_newer_version_keeps_no_other_from_the_list(link: Bus, jobs: Jobs) -> None:
    await submit_many(link, 2)
    newer = wire.encode(of(2, submitted(BEGAN))).replace(b'"unipc"', b'"a_newer_solver"')
    await link.publish(subjects.submission_of(job_id(2)), newer, within_s=2)
    await link.publish(subjects.submission_of(job_id(3)), b"{", within_s=2)
    await link.publish(subjects.submission_of("x"), b"{", within_s=2)
    await indexed(link, 5)
    page = await jobs.page(limit=20)
    assert ids(page) == [2, 1, 0]
    assert page.jobs[0].submitted is None


async def test_a_job_is_listed_and_found_straight_after_its_submission(
    client: aiohttp.ClientSession, edge: Edge, link: Bus
) -> None:
    jobs = Jobs(link, Folder(edge.videos), Folder(edge.scratch), retention_s=RETENTION_S)
    for count in range(1, 4):
        accepted = (await submit(client, edge))[1]["requestId"]
        await indexed(link, count)
        page = await jobs.page(limit=20)
        assert page.jobs[0].status.job_id == accepted
        found = await jobs.find(accepted)
        assert found.submitted is not None
        assert found.submitted.job.prompt == PROMPT
        assert found.status.queue_position is not None


async def test_an_index_that_somebody_purged_is_filled_by_what_comes(link: Bus, jobs: Jobs) -> None:
    await submit_many(link, 3)
    await link.admin.purge_stream(subjects.bucket_stream(subjects.INDEX_BUCKET))
    await publish(link, of(9, submitted(BEGAN)))
    await indexed(link, 1)
    assert ids(await jobs.page(limit=20)) == [9]


async def test_an_index_that_was_lost_is_filled_from_the_log_by_provisioning(
    broker: Broker, link: Bus, jobs: Jobs
) -> None:
    await submit_many(link, 5)
    await bury(JobLog(link, "edge"), replace(deleted(BEGAN), job_id=job_id(3)))
    await Deletions(link, JobLog(link, "state")).purge(job_id(3))
    await link.admin.delete_stream(subjects.bucket_stream(subjects.INDEX_BUCKET))
    with pytest.raises(Unavailable):
        await jobs.page(limit=20)
    await provision.provision(link, provision_settings(broker))
    await eventually_indexed(jobs, [0, 1, 2, 4])


@pytest.mark.timeout(120)
@pytest.mark.parametrize("purged", [False, True])
async def test_the_index_goes_on_after_the_broker_was_killed(
    broker: Broker, link: Bus, jobs: Jobs, *, purged: bool
) -> None:
    """Every job once, also if the last ones that the index had were purged, as those of deleted jobs are."""
    await submit_many(link, 5)
    if purged:
        for n in (3, 4):
            await bury(JobLog(link, "edge"), replace(deleted(BEGAN), job_id=job_id(n)))
            await Deletions(link, JobLog(link, "state")).purge(job_id(n))
    left = [0, 1, 2] if purged else [0, 1, 2, 3, 4]
    broker.kill()
    broker.start()
    await link.wait_for_streams(subjects.EVENTS_STREAM, stop=asyncio.Event())
    await publish(link, *(of(n, submitted(BEGAN + n)) for n in range(5, 8)))
    await eventually_indexed(jobs, [*left, 5, 6, 7])


@pytest.mark.timeout(120)
async def test_the_index_goes_on_with_a_log_that_was_made_anew(broker: Broker, link: Bus, jobs: Jobs) -> None:
    await submit_many(link, 5)
    await link.admin.delete_stream(subjects.EVENTS_STREAM)
    await provision.provision(link, provision_settings(broker))
    await publish(link, *(of(n, submitted(BEGAN + n)) for n in range(5, 8)))
    await eventually_indexed(jobs, [5, 6, 7])


async def eventually_indexed(jobs: Jobs, numbers: list[int]) -> None:
    async def listed() -> bool:
        return await all_pages(jobs, 3) == numbers[::-1]

    await eventually(listed, within_s=SOURCED_WITHIN_S)
