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
from tests.services.edge.live.streams import life, publish

ID = "a" * 32
VARYING = ("x-request-id", "date")
Answer = tuple[int, dict[str, str], str]


def succeeded() -> JobStatus:
    results = Results(
        video_url=video_url(ID), video_path=video_path(ID), width=64, height=48, num_frames=25, duration=1.5625,
        size_bytes=3, seed=1,
    )  # fmt: skip
    return JobStatus(job_id=ID, status="Succeed", progress=1.0, attempt=1, created_at=1.0, results=results)


async def succeed(link: Bus) -> None:
    """Submit a job, and have it succeed, without a video."""
    await publish(link, life(ID)[:1])
    await link.put(subjects.STATUS_BUCKET, ID, wire.encode(succeeded()), revision=0)


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
    await succeed(link)
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

    async def is_looked_for_again() -> bool:
        return (await shown())[1]["status"] == "InQueue"  # which is all that the log says of it

    await eventually(is_looked_for_again, within_s=ENDED_KEPT_S + 2)


async def test_a_cancelled_job_is_cancelled_in_the_next_status(client: aiohttp.ClientSession, edge: Edge) -> None:
    job_id = (await submit(client, edge))[1]["requestId"]
    for expected in ("InQueue", "Cancelled", "Cancelled"):
        async with client.get(f"{edge.url}/video/status/{job_id}") as answer:
            assert (await answer.json())["status"] == expected
        await post(client, f"{edge.url}/video/cancel", {"requestId": job_id})


async def test_a_small_part_of_a_video_is_answered_as_by_the_route(
    client: aiohttp.ClientSession, edge: Edge, link: Bus
) -> None:
    await succeed(link)
    edge.videos.mkdir(exist_ok=True)
    file = edge.videos / video_name(ID)

    async def both_parts(asked_for: str, **headers: str) -> Answer:
        url = f"{edge.url}/videos/{ID}.mp4"
        short, long = [await asked(client, "GET", url + slash, Range=asked_for, **headers) for slash in ("", "/")]
        assert short == long
        return short

    assert (await both_parts("bytes=0-1"))[0] == 410
    file.write_bytes(bytes(range(97, 123)))
    code, headers, body = await both_parts("bytes=2-5")
    assert (code, headers["content-range"], headers["content-type"], body) == (206, "bytes 2-5/26", "video/mp4", "cdef")
    assert (await both_parts("bytes=20-1000"))[2] == "uvwxyz"
    assert (await both_parts("bytes=26-30"))[0] == 416
    for odd in ("bytes=5-2", "bytes=-3", "bytes=0-0,2-2", "bytes=0-9999999"):
        await both_parts(odd)
    assert (await both_parts("bytes=0-1", **{"If-Range": '"other"'}))[0] == 200
    assert (await both_parts("bytes=0-1", **{"If-None-Match": headers["etag"]}))[0] == 304


async def test_the_parts_of_a_video_need_no_broker_for_seconds(
    client: aiohttp.ClientSession, edge: Edge, broker: Broker, link: Bus
) -> None:
    await succeed(link)
    edge.videos.mkdir(exist_ok=True)
    file = edge.videos / video_name(ID)
    file.write_bytes(b"abcdef")
    url = f"{edge.url}/videos/{ID}.mp4"
    assert (await asked(client, "GET", url, Range="bytes=0-1"))[2] == "ab"
    broker.kill()
    assert (await asked(client, "GET", url, Range="bytes=2-3"))[2] == "cd"
    file.unlink()
    assert (await asked(client, "GET", url, Range="bytes=4-5"))[0] == 410
