"""A status that is waited for: `GET /video/status/{id}?wait=…`."""

import asyncio
import time
from typing import Any

import aiohttp
import pytest

from contracts import subjects
from contracts.broker import Bus
from tests.kit.builders import ID
from tests.kit.edge import Edge, post, submit
from tests.kit.waiting import eventually
from tests.services.edge.live.streams import life, publish
from tests.services.edge.talk import get, talk

SOON_S = 5.0


async def waited(client: aiohttp.ClientSession, edge: Edge, job_id: str, wait: str = "60") -> tuple[int, Any, float]:
    """Return status, body, and the seconds that the answer took."""
    began = time.monotonic()
    async with client.get(f"{edge.url}/video/status/{job_id}", params={"wait": wait}) as answer:
        return answer.status, await answer.json(), time.monotonic() - began


async def looks_at(link: Bus, job_id: str) -> list[str]:
    """Return a list that grows with each look at the job's status, as the broker is asked for it."""
    looks: list[str] = []

    async def note(subject: str, _: bytes) -> None:
        looks.append(subject)

    bucket, key = subjects.bucket_stream(subjects.STATUS_BUCKET), subjects.bucket_key(subjects.STATUS_BUCKET, job_id)
    await link.listen(f"$JS.API.DIRECT.GET.{bucket}.{key}", note)
    return looks


async def test_the_answer_comes_with_a_change_though_no_state_service_runs(
    client: aiohttp.ClientSession, edge: Edge, link: Bus
) -> None:
    job_id = (await submit(client, edge))[1]["requestId"]
    coming = life(job_id, steps=90)[1:]
    last: tuple[str, int] = ("InQueue", 0)
    for _ in range(3):
        asking = asyncio.create_task(waited(client, edge, job_id))

        async def answered(asking: "asyncio.Task[Any]" = asking) -> bool:
            """Publish one more event, as the request may not have come yet when the one before was stored."""
            await publish(link, [coming.pop(0)])
            return asking.done()

        await eventually(answered, within_s=SOON_S)
        status, body, seconds = await asking
        assert (status, body["queue_position"]) == (200, None)
        assert seconds < SOON_S
        assert (body["status"], body["step"]) > ("InProgress", last[1]) or last[0] == "InQueue"
        last = body["status"], body["step"]
    asking = asyncio.create_task(waited(client, edge, job_id))
    await publish(link, coming[-1:])
    _, ended, _ = await asking
    assert ended["status"] == "Succeed"
    assert ended["expires_at"] > 0
    assert (await waited(client, edge, job_id))[2] < SOON_S  # it has ended


async def test_a_better_place_in_the_queue_is_a_change(client: aiohttp.ClientSession, edge: Edge, link: Bus) -> None:
    *ahead, last = [(await submit(client, edge, seed=seed))[1]["requestId"] for seed in range(5)]
    asking = asyncio.create_task(waited(client, edge, last))

    async def answered() -> bool:
        if ahead:
            assert (await post(client, f"{edge.url}/video/cancel", {"requestId": ahead.pop()}))[0] == 200
        return asking.done()

    await eventually(answered, within_s=SOON_S)
    _, body, seconds = await asking
    assert body["status"] == "InQueue"
    assert 1 <= body["queue_position"] < 5
    assert seconds < SOON_S


async def test_without_a_change_the_answer_comes_after_the_wait(
    client: aiohttp.ClientSession, edge: Edge, link: Bus
) -> None:
    job_id = (await submit(client, edge))[1]["requestId"]
    status, body, seconds = await waited(client, edge, job_id, "0.7")
    assert (status, body["status"]) == (200, "InQueue")
    assert 0.7 <= seconds < SOON_S
    assert (await waited(client, edge, job_id, "0"))[2] < 0.7


@pytest.mark.parametrize("wait", ["", "61", "-1", "x", "1e2", "nan"])
async def test_a_faulty_wait_is_a_400_that_names_it(client: aiohttp.ClientSession, edge: Edge, wait: str) -> None:
    job_id = (await submit(client, edge))[1]["requestId"]
    status, body, _ = await waited(client, edge, job_id, wait)
    assert (status, [each["field"] for each in body["details"]]) == (400, ["wait"])
    status, body, _ = await waited(client, edge, "x", wait)
    assert (status, [each["field"] for each in body["details"]]) == (400, ["id", "wait"])


async def test_an_unknown_job_is_not_waited_for(client: aiohttp.ClientSession, edge: Edge, link: Bus) -> None:
    status, body, seconds = await waited(client, edge, ID)
    assert (status, body["error"]) == (404, "NOT_FOUND")
    assert seconds < SOON_S


async def test_an_edge_that_stops_answers_at_once(client: aiohttp.ClientSession, edge: Edge, link: Bus) -> None:
    job_id = (await submit(client, edge))[1]["requestId"]
    looks = await looks_at(link, job_id)
    asking = asyncio.create_task(waited(client, edge, job_id))
    await eventually(lambda: looks)
    stopping = asyncio.create_task(asyncio.to_thread(edge.stop))
    status, body, seconds = await asking
    assert (status, body["status"]) == (200, "InQueue")
    assert seconds < SOON_S
    assert await stopping == 0


async def test_a_client_that_leaves_waits_no_longer(client: aiohttp.ClientSession, edge: Edge, link: Bus) -> None:
    job_id = (await submit(client, edge))[1]["requestId"]
    path = f"/video/status/{job_id}"
    looks = await looks_at(link, job_id)
    async with talk(edge) as connection:
        await connection.say(get(f"{path}?wait=60"))
        await eventually(lambda: looks)
    await eventually(lambda: [line for line in edge.lines if line.get("path") == path], within_s=SOON_S)
