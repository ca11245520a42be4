"""A key shows and changes its own tenant's jobs alone: lists, streams, idempotency keys, and jobs of before."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from msgspec.structs import replace

from contracts import subjects, wire
from contracts.broker import Bus
from contracts.events import JobSubmitted
from contracts.job_log import JobLog
from contracts.record import Record, video_record_name
from contracts.stores import Folder
from services.edge import tenant_runs
from services.edge.auth.caller import ANYBODY, Caller
from services.edge.auth.owners import Owners
from services.edge.errors import NotFound, Overloaded
from services.edge.job_index import Order
from services.edge.jobs import Jobs
from tests.kit.auth import known
from tests.kit.broker import Broker
from tests.kit.builders import ID, failed, started, submitted, succeeded
from tests.kit.edge import PROMPT, Edge, picture
from tests.services.edge.auth.holders import holder
from tests.services.edge.live.streams import EventReader, Lively, publish
from tests.services.edge.test_list import indexed
from tests.services.edge.v1.asking import create

ACME, OTHER = "acme", "other"


def numbered(n: int) -> str:
    return f"{n:032x}"


def job(n: int, tenant: str) -> JobSubmitted:
    return replace(submitted(100.0 + n), job_id=numbered(n), tenant=tenant)


@pytest.fixture
def jobs(link: Bus, tmp_path: Path) -> Jobs:
    return Jobs(link, Folder(tmp_path / "videos"), Folder(tmp_path / "scratch"), retention_s=1e9)


async def pages(jobs: Jobs, tenant: str, limit: int, order: Order) -> list[int]:
    """Return the numbers of a tenant's jobs, page by page."""
    found, after = list[int](), None
    while True:
        page = await jobs.page(tenant=tenant, limit=limit, after=after, order=order)
        found += [int(each.status.job_id, 16) for each in page.jobs]
        if not page.has_more:
            return found
        after = page.jobs[-1].status.job_id


@pytest.mark.parametrize("limit", [1, 3, 100])
@pytest.mark.parametrize("scanned", [5, 10_000])
async def test_the_pages_of_a_tenant_are_all_its_jobs_each_once(
    link: Bus, jobs: Jobs, limit: int, scanned: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenant_runs, "RUN_MAX", 4)
    monkeypatch.setattr(tenant_runs.Scan.__init__, "__defaults__", (scanned,))
    await publish(link, [job(n, ACME if n % 3 == 0 else OTHER) for n in range(20)])
    await indexed(link, 20)
    expected = [n for n in range(20) if n % 3 == 0]
    assert await pages(jobs, ACME, limit, "asc") == expected
    assert await pages(jobs, ACME, limit, "desc") == expected[::-1]
    assert len(await pages(jobs, OTHER, limit, "desc")) == 20 - len(expected)
    assert await pages(jobs, "nobody", limit, "desc") == [] if scanned > 20 else True
    await publish(link, [replace(failed(1, 300.0), job_id=numbered(n)) for n in (1, 3, 9, 10)])
    page = await jobs.page(tenant=ACME, limit=100, status=("Failed",))
    assert ([int(each.status.job_id, 16) for each in page.jobs], page.has_more) == ([9, 3], False)


async def test_a_cursor_of_another_tenant_is_unknown(link: Bus, jobs: Jobs) -> None:
    await publish(link, [job(0, ACME), job(1, OTHER)])
    await indexed(link, 2)
    answers = list[str]()
    for after in (numbered(1), numbered(7)):
        with pytest.raises(NotFound) as unknown:
            await jobs.page(tenant=ACME, limit=1, after=after)
        answers.append(str(unknown.value))
    assert answers[0] == answers[1]
    assert (await jobs.page(tenant=ACME, limit=1, after=numbered(0))).jobs == []


@pytest.mark.parametrize("order", ["desc", "asc"])
async def test_a_list_far_behind_others_jobs_goes_on_where_it_had_to_stop(
    link: Bus, jobs: Jobs, order: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenant_runs, "RUN_MAX", 4)
    monkeypatch.setattr(tenant_runs, "SETTLED_S", -60.0)
    monkeypatch.setattr(tenant_runs.Scan.__init__, "__defaults__", (8,))
    far = 0 if order == "desc" else 29
    await publish(link, [job(n, ACME if n == far else OTHER) for n in range(30)])
    await indexed(link, 30)
    refused = 0
    while True:
        try:
            page = await jobs.page(tenant=ACME, limit=5, order=order)
        except Overloaded:
            refused += 1
            assert refused < 10
        else:
            break
    assert [int(each.status.job_id, 16) for each in page.jobs] == [far]
    assert 2 <= refused <= 5
    await publish(link, [job(30, ACME)])
    await indexed(link, 31)
    assert len((await jobs.page(tenant=ACME, limit=1, order="desc")).jobs) == 1, "a new job is no place of before"


async def test_a_job_is_its_submissions_tenants_and_one_of_before_is_the_default_tenants(
    link: Bus, tmp_path: Path
) -> None:
    owners = Owners(link, Folder(tmp_path / "videos"))
    before = wire.encode(job(1, "default"))
    assert b"tenant" not in before
    await link.publish(subjects.submission_of(numbered(1)), before, within_s=2)
    await publish(link, [job(2, ACME)])
    assert await owners.tenant_of(numbered(1)) == "default"
    assert await owners.tenant_of(numbered(2)) == ACME
    assert await owners.tenant_of(numbered(3)) is None
    acme = Caller(tenant=ACME, scopes=("read",), key_id="k")
    await owners.check(acme, numbered(2))
    await owners.check(ANYBODY, numbered(3))
    for foreign in (numbered(1), numbered(3)):
        with pytest.raises(NotFound):
            await owners.check(acme, foreign)


async def test_a_job_that_the_log_has_forgotten_is_whose_its_record_says(link: Bus, tmp_path: Path) -> None:
    videos = Folder(tmp_path / "videos")
    owners = Owners(link, videos)
    for n, of in ((1, job(1, ACME)), (2, None)):
        record = Record(submitted=of, ending=replace(succeeded(1, 2.0), job_id=numbered(n)))
        await videos.write(video_record_name(numbered(n)), wire.encode_record(record))
    assert await owners.tenant_of(numbered(1)) == ACME
    assert await owners.tenant_of(numbered(2)) is None


async def test_a_submission_that_cannot_be_read_is_nobodys(link: Bus, tmp_path: Path) -> None:
    broken = msgspec.json.encode({"type": "JobSubmitted", "requestId": ID, "tenant": "A.B"})
    await link.publish(subjects.submission_of(ID), broken, within_s=2)
    assert await Owners(link, Folder(tmp_path / "videos")).tenant_of(ID) is None


async def submit(client: aiohttp.ClientSession, edge: Edge, shown: dict[str, str], **headers: str) -> tuple[str, bool]:
    """Return the id of a submitted job, and whether it was a replay."""
    body = {"prompt": PROMPT, "image_url": picture(), "num_frames": 25, "infer_steps": 20}
    async with client.post(f"{edge.url}/video/submit", json=body, headers={**shown, **headers}) as answer:
        assert answer.status == 202, await answer.text()
        return (await answer.json())["requestId"], "Idempotent-Replayed" in answer.headers


async def test_an_idempotency_key_is_its_tenants_and_the_default_tenants_mean_what_they_meant_before(
    edges: Callable[..., Edge], link: Bus, client: aiohttp.ClientSession
) -> None:
    open_edge, closed = edges(AUTH="off"), edges(AUTH="keys")
    for edge in (open_edge, closed):
        await edge.ready(client)
    acme, other, default = [await holder(link, tenant) for tenant in (ACME, OTHER, "default")]
    await known(client, closed.url, default)
    key = {"Idempotency-Key": "planted-canary"}
    before, _ = await submit(client, open_edge, {}, **key)
    assert await submit(client, closed, default, **key) == (before, True)
    first, replayed = await submit(client, closed, acme, **key)
    assert not replayed and first != before
    assert await submit(client, closed, acme, **key) == (first, True)
    second, replayed = await submit(client, closed, other, **key)
    assert not replayed and second not in (before, first)
    stored = await link.last(subjects.EVENTS_STREAM, subjects.submission_of(second))
    assert stored is not None and wire.decode_submission(stored.data).tenant == OTHER


async def test_an_unkeyed_repeat_is_its_tenants_whichever_of_its_keys_it_shows(
    edges: Callable[..., Edge], link: Bus, client: aiohttp.ClientSession
) -> None:
    edge = edges(AUTH="keys")
    await edge.ready(client)
    acme, rotated, other = [await holder(link, tenant) for tenant in (ACME, ACME, OTHER)]
    await known(client, edge.url, other)
    again = {"x-stainless-retry-count": "1"}
    first = await create(client, edge, headers=acme)
    assert (await create(client, edge, headers={**rotated, **again}))["id"] == first["id"]
    assert (await create(client, edge, headers={**other, **again}))["id"] != first["id"]


@asynccontextmanager
async def all_jobs(
    client: aiohttp.ClientSession, edge: Edge, shown: dict[str, str], query: str = ""
) -> AsyncGenerator[EventReader, None]:
    timeout = aiohttp.ClientTimeout(total=None, sock_read=20)
    async with client.get(f"{edge.url}/video/events{query}", headers=shown, timeout=timeout) as response:
        assert response.status == 200, await response.text()
        yield EventReader(response)
        response.close()


@pytest.fixture
async def lively(tmp_path: Path, broker: Broker, link: Bus, client: Any) -> AsyncGenerator[Lively, None]:
    edge = Lively(tmp_path, broker, AUTH="keys", SHOW_ALL_JOBS="0")
    edge.start()
    await edge.ready(client)
    yield edge
    if edge.alive:
        assert edge.stop() == 0, edge.text


def life_of(n: int, tenant: str) -> list[Any]:
    return [job(n, tenant), *(replace(each, job_id=numbered(n)) for each in (started(1, 101.0), succeeded(1, 200.0)))]


async def test_a_stream_of_all_jobs_has_the_tenants_own(
    lively: Lively, link: Bus, client: aiohttp.ClientSession
) -> None:
    acme, admin = await holder(link, ACME), await holder(link, "root", "admin")
    await known(client, lively.url, admin)
    await publish(link, life_of(1, OTHER) + life_of(2, ACME))
    for shown, expected in ((acme, {numbered(2)}), (admin, {numbered(1), numbered(2), numbered(3), numbered(4)})):
        async with all_jobs(client, lively, shown, "?after=0") as stream:
            if shown is acme:
                await publish(link, life_of(3, OTHER) + life_of(4, ACME))
                expected |= {numbered(4)}
            told = [await stream.event() for _ in range(3 * len(expected))]
            assert {each.data["requestId"] for each in told} == expected
            assert [each.event for each in told[:3]] == ["submitted", "started", "succeeded"]


async def test_a_stream_that_hears_others_alone_shows_that_it_stands(
    lively: Lively, link: Bus, client: aiohttp.ClientSession
) -> None:
    acme = await holder(link, ACME)
    await known(client, lively.url, acme)
    log = JobLog(link, publisher="test")

    async def others_go_on() -> None:
        for n in range(1000):
            await log.append(job(n, OTHER))
            await asyncio.sleep(0.02)  # so that no wait of the stream is ever without an event

    async with all_jobs(client, lively, acme) as stream:
        noise = asyncio.create_task(others_go_on())
        for _ in range(4):
            block = await stream.block()
            assert (
                block is not None and block.event is None and (block.comment == "keep-alive" or block.retry or block.id)
            )
        noise.cancel()
