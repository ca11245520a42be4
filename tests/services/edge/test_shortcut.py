"""The status by GET, which is answered ahead of the framework: as the framework's own routes would, and no later."""

from typing import Any

import aiohttp
import pytest

from contracts import subjects, wire
from contracts.broker import Bus
from contracts.job import video_name, video_path, video_url
from contracts.status import JobStatus, Results
from services.edge.job_status import ENDED_KEPT_S
from tests.kit.broker import Broker
from tests.kit.edge import Edge, post, submit
from tests.kit.waiting import eventually

ID = "a" * 32
VARYING = ("x-request-id", "date")
Answer = tuple[int, dict[str, str], str]


def succeeded() -> JobStatus:
    results = Results(
        video_url=video_url(ID), video_path=video_path(ID), width=64, height=48, num_frames=25, duration=1.5625,
        size_bytes=3, seed=1,
    )  # fmt: skip
    return JobStatus(job_id=ID, status="Succeed", progress=1.0, attempt=1, created_at=1.0, results=results)


async def asked(
    client: aiohttp.ClientSession, method: str, url: str, **headers: str
) -> tuple[int, dict[str, str], str]:
    async with client.request(method, url, headers=headers) as answer:
        return (
            answer.status,
            {k.lower(): v for k, v in answer.headers.items() if k.lower() not in VARYING},
            await answer.text(),
        )


async def both(client: aiohttp.ClientSession, edge: Edge, method: str, job_id: str) -> list[Answer]:
    """The answers to one request at the shortcut, and at the framework's route, which also takes a slash at the end."""
    return [await asked(client, method, f"{edge.url}/video/status/{job_id}{slash}") for slash in ("", "/")]


async def test_the_shortcut_answers_as_the_route_does(
    client: aiohttp.ClientSession, edge: Edge, broker: Broker, link: Bus
) -> None:
    job_id = (await submit(client, edge))[1]["requestId"]
    for method in ("GET", "HEAD", "POST", "OPTIONS"):
        for known in (job_id, "0" * 32, "x"):
            short, long = await both(client, edge, method, known)
            assert short == long
    assert (await asked(client, "GET", f"{edge.url}/video/status/{job_id}"))[0] == 200
    odd = {"Host": "a b"}
    assert (await asked(client, "GET", f"{edge.url}/video/status/{job_id}", **odd))[0] == 400
    await link.put(subjects.STATUS_BUCKET, ID, b"{", revision=0)
    short, long = await both(client, edge, "GET", ID)
    assert short == long


@pytest.mark.timeout(120)
async def test_the_shortcut_says_that_the_broker_is_away_as_the_route_does(
    client: aiohttp.ClientSession, edge: Edge, broker: Broker
) -> None:
    broker.kill()
    short, long = await both(client, edge, "GET", ID)
    assert short == long
    assert (short[0], short[1]["retry-after"]) == (503, "10")


async def test_every_answer_has_an_id_of_its_own(client: aiohttp.ClientSession, edge: Edge) -> None:
    seen: set[str] = set()
    for _ in range(3):
        async with client.get(f"{edge.url}/video/status/{ID}") as answer:
            seen.add(answer.headers["X-Request-Id"])
    assert len(seen) == 3 and all(len(each) == 32 and int(each, 16) for each in seen)

    def lines() -> list[dict[str, Any]]:
        return [line for line in edge.lines if line.get("path") == f"/video/status/{ID}"]

    await eventually(lambda: {line["http_request_id"] for line in lines()} == seen)
    assert all((line["status"], line["job_id"], line["service"]) == (404, ID, "edge") for line in lines())


async def test_an_ended_status_is_remembered_for_seconds_and_its_video_looked_for_each_time(
    client: aiohttp.ClientSession, edge: Edge, link: Bus
) -> None:
    await link.put(subjects.STATUS_BUCKET, ID, wire.encode(succeeded()), revision=0)
    edge.videos.mkdir(exist_ok=True)
    file = edge.videos / video_name(ID)

    async def shown() -> Any:
        async with client.get(f"{edge.url}/video/status/{ID}") as answer:
            return answer.status, await answer.json()

    for _ in range(2):
        file.write_bytes(b"mp4")
        assert (await shown())[1]["results"]["video_url"] == video_url(ID)
        file.unlink()
        assert (await shown())[1]["results"]["video_url"] is None
    await link.put_last(subjects.STATUS_BUCKET, ID, b"")  # as after its retention

    async def is_gone() -> bool:
        return (await shown())[0] == 404

    await eventually(is_gone, within_s=ENDED_KEPT_S + 2)


async def test_a_cancelled_job_is_cancelled_in_the_next_status(client: aiohttp.ClientSession, edge: Edge) -> None:
    job_id = (await submit(client, edge))[1]["requestId"]
    for expected in ("InQueue", "Cancelled", "Cancelled"):
        async with client.get(f"{edge.url}/video/status/{job_id}") as answer:
            assert (await answer.json())["status"] == expected
        await post(client, f"{edge.url}/video/cancel", {"requestId": job_id})
