"""A tenant's limit of unfinished jobs, as clients of several edges meet it, and as edges and clusters that are killed
leave it."""

import asyncio
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from contracts import subjects, wire
from contracts.broker import Bus, Unavailable
from contracts.job import JobRequest
from contracts.job_log import JobLog
from contracts.slots import Slots
from contracts.tenant import Tenant
from ops import provision
from services.edge.body.idempotency import Identity
from services.edge.errors import Busy, Overloaded, TenantBusy
from services.state.slots import LOOK_EVERY_S, YOUNG_S
from tests.kit import auth
from tests.kit.broker import Broker, provision_settings
from tests.kit.edge import PROMPT, Edge, picture, post, submit
from tests.kit.process import PLANTED, Process
from tests.kit.waiting import eventually
from tests.services.edge.body.forms import form, png
from tests.services.edge.test_deletion import jobs_of, state
from tests.services.edge.v1.asking import SMALL, ask, kind

LIMIT = 3
LIMITED = {"TENANT_JOBS_MAX": str(LIMIT)}
REQUEST = JobRequest(prompt="a small boat at sea", image_url="x")
FLOOD, OTHER = Tenant("flood", LIMIT), Tenant("other", LIMIT)


async def held(link: Bus) -> set[str]:
    return {slot.job_id for slot in await JobLog(link, "test").slots.all()}


async def admit(broker: Broker, link: Bus, jobs: int) -> None:
    await provision.provision(link, provision_settings(broker, max_concurrent_tasks=jobs))


def identity(number: int) -> Identity:
    return Identity(f"{number:032x}", None)


async def three_edges(client: aiohttp.ClientSession, edges: Callable[..., Edge]) -> list[Edge]:
    three = [edges(**LIMITED) for _ in range(3)]
    for edge in three:
        await edge.ready(client)
    return three


@pytest.mark.timeout(240)
async def test_of_200_submissions_at_once_over_three_edges_as_many_as_may_are_taken_and_the_others_told_why(
    client: aiohttp.ClientSession, edges: Callable[..., Edge], broker: Broker, link: Bus
) -> None:
    await admit(broker, link, 50)
    three = await three_edges(client, edges)
    answers = Counter[tuple[int, str, str, bool]]()
    async with auth.client_session(connector=aiohttp.TCPConnector(limit=0)) as many:

        async def one(number: int) -> None:
            body = {"prompt": PROMPT, "image_url": picture(), "num_frames": 25}
            async with many.post(f"{three[number % 3].url}/video/submit", json=body) as answer:
                said, again_s = await answer.json(), int(answer.headers.get("Retry-After", 0))
                text = said.get("message", "").partition(";")[0]
                answers[answer.status, said.get("error", ""), text, again_s > 0] += 1

        await asyncio.gather(*map(one, range(200)))
    full = f"{LIMIT} of the {LIMIT} unfinished jobs that this tenant may have exist"
    assert answers == {(202, "", "", False): LIMIT, (429, "TENANT_BUSY", full, True): 200 - LIMIT}
    queued = {subjects.job_id_of(job.subject) for job in await link.read(subjects.JOBS_STREAM, subjects.ALL_JOBS)}
    assert len(queued) == LIMIT
    assert await held(link) == queued == {file.stem for file in three[0].scratch.glob("inputs/*")}


async def test_a_slot_is_free_as_soon_as_its_job_is_cancelled_or_deleted(
    client: aiohttp.ClientSession, edges: Callable[..., Edge], link: Bus
) -> None:
    edge = edges(**LIMITED)
    await edge.ready(client)
    ids = [(await submit(client, edge))[1]["requestId"] for _ in range(LIMIT)]
    assert (await submit(client, edge))[0] == 429
    assert (await post(client, f"{edge.url}/video/cancel", {"requestId": ids[0]}))[0] == 200
    assert await held(link) == {*ids[1:]}
    async with client.delete(f"{edge.url}/v1/videos/video_{ids[1]}") as answer:
        assert answer.status == 200
    assert await held(link) == {ids[2]}
    assert [(await submit(client, edge))[0] for _ in range(3)] == [202, 202, 429]


async def test_who_has_all_slots_is_told_so_in_the_words_of_v1(
    client: aiohttp.ClientSession, edges: Callable[..., Edge], link: Bus
) -> None:
    edge = edges(**LIMITED)
    await edge.ready(client)
    for _ in range(LIMIT):
        assert (await submit(client, edge))[0] == 202
    body = form("b", **SMALL, input_reference=png())
    code, said, headers = await ask(client, edge, "POST", "/videos", data=body, headers=kind("b"))
    assert (code, said["error"]["type"], said["error"]["code"]) == (429, "rate_limit_error", "tenant_busy")
    assert int(headers["retry-after"]) > 0
    assert "x-should-retry" not in headers


async def test_nothing_is_stored_or_said_about_slots_where_there_is_no_limit(
    client: aiohttp.ClientSession, edge: Edge, link: Bus
) -> None:
    job_id = (await submit(client, edge))[1]["requestId"]
    await post(client, f"{edge.url}/video/cancel", {"requestId": job_id})
    assert (await link.stream(subjects.SLOTS_STREAM)).state.last_seq == 0
    stored = await eventually(lambda: JobLog(link, "test").stored_submission(job_id))
    assert stored is not None
    assert b"slot" not in stored.data


async def test_the_same_key_twice_at_once_is_one_job_with_one_slot(
    client: aiohttp.ClientSession, edges: Callable[..., Edge], link: Bus
) -> None:
    edge = edges(TENANT_JOBS_MAX="1")
    await edge.ready(client)
    body = {"prompt": PROMPT, "image_url": picture(), "num_frames": 25}
    key = {"Idempotency-Key": f"once-{PLANTED}"}
    answers = await asyncio.gather(*(post(client, f"{edge.url}/video/submit", body, key) for _ in range(8)))
    assert {code for code, _ in answers} == {202}
    assert await held(link) == {answers[0][1]["requestId"]}
    await post(client, f"{edge.url}/video/cancel", answers[0][1])
    assert await held(link) == set()


async def test_a_job_that_the_full_queue_refuses_gives_its_slot_back(broker: Broker, edge: Edge, link: Bus) -> None:
    await admit(broker, link, 1)
    jobs = jobs_of(link, edge)
    assert await jobs.store_input_and_enqueue(REQUEST, b"png", identity(0), FLOOD, remixed_from=None)
    with pytest.raises(Busy):
        await jobs.store_input_and_enqueue(REQUEST, b"png", identity(1), FLOOD, remixed_from=None)
    assert await held(link) == {identity(0).job_id}
    assert [file.stem for file in edge.scratch.glob("inputs/*")] == [identity(0).job_id]


async def test_a_refusal_says_when_one_of_the_tenants_own_jobs_ends(edge: Edge, link: Bus) -> None:
    jobs = jobs_of(link, edge)
    await jobs.store_input_and_enqueue(REQUEST, b"png", identity(0), Tenant("one", 1), remixed_from=None)
    with pytest.raises(TenantBusy) as refused:
        await jobs.check_for_room(Tenant("one", 1), identity(1).job_id)
    assert str(refused.value).startswith("1 of the 1 unfinished jobs that this tenant may have exist")
    await jobs.check_for_room(Tenant("one", 1), identity(0).job_id)  # a repeat of the job has its slot
    await jobs.check_for_room(Tenant("two", 1), identity(1).job_id)


async def test_without_an_answer_about_slots_a_submission_is_put_off_and_leaves_no_input(
    edge: Edge, link: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Slots.take, "__kwdefaults__", {"within_s": 1.0})
    jobs = jobs_of(link, edge)
    await link.admin.delete_stream(subjects.SLOTS_STREAM)
    with pytest.raises(Unavailable):
        await jobs.check_for_room(FLOOD, identity(0).job_id)
    with pytest.raises(Overloaded):
        await jobs.store_input_and_enqueue(REQUEST, b"png", identity(0), FLOOD, remixed_from=None)
    assert await link.read(subjects.JOBS_STREAM, subjects.ALL_JOBS) == []
    assert list(edge.scratch.glob("inputs/*")) == []


async def test_while_one_tenant_floods_another_ones_job_starts_after_those_that_were_queued_before_it(
    broker: Broker, edge: Edge, link: Bus
) -> None:
    await admit(broker, link, 50)
    jobs, flooding, taken = jobs_of(link, edge), asyncio.Event(), Counter[bool]()

    async def flood(first: int) -> None:
        number = first
        while not flooding.is_set():
            try:
                await jobs.store_input_and_enqueue(REQUEST, b"png", identity(number), FLOOD, remixed_from=None)
                taken[True] += 1
            except TenantBusy:
                taken[False] += 1
            number += 100

    floods = [asyncio.create_task(flood(first)) for first in range(20)]
    await eventually(lambda: taken[True] == LIMIT and taken[False] > LIMIT)
    before = {subjects.job_id_of(job.subject) for job in await link.read(subjects.JOBS_STREAM, subjects.ALL_JOBS)}
    others = identity(10**9)
    assert await jobs.store_input_and_enqueue(REQUEST, b"png", others, OTHER, remixed_from=None)
    started: list[str] = []
    while others.job_id not in started:  # as a cluster does it: the job's ending, its slot, its message
        delivery = await link.pull(subjects.JOBS_STREAM, subjects.INFERENCE_DURABLE, stop=flooding)
        assert delivery is not None
        head = wire.decode_head(delivery.data)
        started.append(head.job_id)
        await JobLog(link, "cluster").slots.free(head)
        await delivery.acknowledge()
    flooding.set()
    await asyncio.gather(*floods)
    assert (set(started[:-1]), started[-1]) == (before, others.job_id)


DEATHS = [("submit", "publish", 2), ("cancel", "purge", 1), ("fail", "purge", 1)]
"""What is done, and before which call of the broker it dies: before the job is published; after its ending was."""


@pytest.mark.timeout(300)
async def test_what_an_edge_or_a_cluster_that_is_killed_leaves_of_a_slot_is_freed_in_bounded_time(
    edge: Edge, link: Bus, broker: Broker, tmp_path: Path
) -> None:
    ids = [identity(number).job_id for number in range(len(DEATHS))]
    for job_id, (act, method, times) in zip(ids, DEATHS, strict=True):
        arguments = [act, method, str(times), job_id, broker.url, str(edge.videos), str(edge.scratch)]
        dying = Process(["-m", "tests.services.edge.dying", *arguments], tmp_path / f"{act}.log")
        assert dying.run(60) == -signal.SIGKILL, dying.text
    ended = {subjects.job_id_of(each.subject) for each in await JobLog(link, "test").stored_endings()}
    assert (await held(link), ended) == (set(ids), set(ids[1:]))
    async with state(broker, edge, tmp_path):

        async def none_left() -> bool:
            return not await held(link)

        await eventually(none_left, within_s=3 * (YOUNG_S + 2 * LOOK_EVERY_S))
