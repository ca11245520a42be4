"""Server-Sent Events over a socket: the past and the present of a job, and how a stream begins and ends."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from contracts import subjects
from contracts.broker import Bus
from tests.kit.broker import Broker
from tests.kit.builders import ID
from tests.kit.edge import Edge, submit
from tests.kit.waiting import eventually
from tests.services.edge.live.streams import (
    ALIVE_EVERY_S,
    READERS_MAX,
    REPLAYED_MAX,
    Lively,
    following,
    life,
    publish,
    steps,
)
from tests.services.edge.talk import ask, get, talk

OTHER = "f" * 32
STOP_WITHIN_S = 5.0


async def sequences(link: Bus, job_id: str = "") -> list[int]:
    pattern = subjects.events_of(job_id) if job_id else subjects.ALL_EVENTS
    return [message.sequence for message in await link.read(subjects.EVENTS_STREAM, pattern)]


async def refused(client: aiohttp.ClientSession, edge: Edge, path: str, **headers: str) -> tuple[int, Any]:
    async with client.get(edge.url + path, headers=headers) as answer:
        return answer.status, await answer.json()


async def test_a_job_is_told_from_its_submission_to_its_ending_and_then_the_stream_ends(
    client: aiohttp.ClientSession, edge: Edge, link: Bus
) -> None:
    job_id = (await submit(client, edge))[1]["requestId"]
    async with following(client, edge, job_id) as stream:
        headers = stream.response.headers
        assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert (headers["Cache-Control"], headers["X-Accel-Buffering"]) == ("no-store", "no")
        assert "Content-Encoding" not in headers
        first = await stream.block()
        assert first is not None
        assert first.retry is not None
        submitted = await stream.event()
        assert (submitted.event, submitted.data["requestId"]) == ("submitted", job_id)
        assert submitted.data["job"]["infer_steps"] == 20
        await publish(link, life(OTHER)[:-1])
        await publish(link, life(job_id)[1:])
        rest = await stream.rest()
    kinds = ["started", *["step"] * 5, "succeeded"]
    assert [block.event for block in rest] == kinds
    assert [submitted.id, *(block.id for block in rest)] == await sequences(link, job_id)
    assert rest[-1].data["video_url"] == f"/videos/{job_id}.mp4"


async def test_last_event_id_or_after_replays_exactly_what_was_missed(
    client: aiohttp.ClientSession, edge: Edge, link: Bus
) -> None:
    await publish(link, [*steps(OTHER, 1, 3), *life(ID), *steps(OTHER, 4, 3)])
    own = await sequences(link, ID)
    async with following(client, edge, ID) as stream:
        assert [block.id for block in await stream.rest()] == own
    for at, last in enumerate(own[:-1]):
        async with following(client, edge, ID, last=last) as stream:
            assert [block.id for block in await stream.rest()] == own[at + 1 :]
    async with following(client, edge, ID, query=f"?after={own[2]}") as stream:
        assert [block.id for block in await stream.rest()] == own[3:]
    async with following(client, edge, ID, last=own[1], query=f"?after={own[4]}") as stream:
        assert [block.id for block in await stream.rest()] == own[2:]
    async with following(client, edge, ID, last=10**9) as stream:  # of a log that was lost
        assert [block.id for block in await stream.rest()] == own


async def test_who_has_had_the_ending_is_told_not_to_come_again(
    client: aiohttp.ClientSession, edge: Edge, link: Bus
) -> None:
    await publish(link, [*life(ID), *steps(ID, 50, 1)])  # a cluster may be late
    ending = (await sequences(link, ID))[-2]
    for after in (ending, ending + 1):
        async with client.get(f"{edge.url}/video/events/{ID}", headers={"Last-Event-ID": str(after)}) as answer:
            assert (answer.status, await answer.read()) == (204, b"")


async def test_what_is_no_job_or_no_event_is_refused_before_the_stream_begins(
    client: aiohttp.ClientSession, edge: Edge, link: Bus
) -> None:
    await publish(link, life(ID)[:-1])
    status, body = await refused(client, edge, f"/video/events/{OTHER}")
    assert (status, body["error"]) == (404, "NOT_FOUND")
    status, body = await refused(client, edge, "/video/events/x")
    assert (status, body["details"][0]["field"]) == (400, "id")
    status, body = await refused(client, edge, f"/video/events/{ID}", **{"Last-Event-ID": "x"})
    assert (status, body["details"][0]["field"]) == (400, "Last-Event-ID")
    status, body = await refused(client, edge, f"/video/events/{ID}?after=-1")
    assert (status, body["details"][0]["field"]) == (400, "after")
    status, body = await refused(client, edge, f"/video/events/{ID}", **{"Sec-Fetch-Site": "cross-site"})
    assert (status, body["error"]) == (403, "FORBIDDEN")
    assert (await ask(edge, get(f"/video/events/{ID}", "Host: a", "Last-Event-ID: 1", "Last-Event-ID: 2")))[
        9:12
    ] == b"400"


async def test_all_jobs_together_are_shown_only_where_the_operator_says_so(
    client: aiohttp.ClientSession, edges: Callable[..., Edge], lively: Lively, link: Bus
) -> None:
    edge = edges(AUTH="off")
    await edge.ready(client)
    status, body = await refused(client, edge, "/video/events")
    assert (status, body["error"]) == (403, "FORBIDDEN")
    assert "SHOW_ALL_JOBS=1" in body["message"]
    await publish(link, steps(ID, 50, 2))
    async with following(client, lively) as stream:
        await stream.block()
        await publish(link, [*life(ID), *life(OTHER)])
        count = len(life(ID)) + len(life(OTHER))
        assert [(await stream.event()).id for _ in range(count)] == (await sequences(link))[2:]
        await publish(link, steps(OTHER, 50, 1))
        assert (await stream.event()).event == "step"
    async with following(client, lively, last=1) as stream:
        assert (await stream.event()).id == 2


async def test_a_silent_stream_says_that_it_lives(client: aiohttp.ClientSession, lively: Lively, link: Bus) -> None:
    await publish(link, life(ID)[:2])
    async with following(client, lively, ID) as stream:
        await stream.event()
        await stream.event()
        began = time.monotonic()
        blocks = [await stream.block(), await stream.block()]
        assert [block is not None and block.comment for block in blocks] == ["keep-alive"] * 2
        assert time.monotonic() - began >= 1.5 * ALIVE_EVERY_S


async def test_a_long_past_comes_in_parts(client: aiohttp.ClientSession, lively: Lively, link: Bus) -> None:
    await publish(link, [*steps(ID, 1, 300), *life(ID)])
    own = await sequences(link, ID)
    heard: list[int | None] = []
    parts = 0
    while len(heard) < len(own):
        async with following(client, lively, ID, last=heard[-1] if heard else None) as stream:
            blocks = await stream.rest()
        assert blocks[-1].event in ("resync", "succeeded")
        heard += [block.id for block in blocks if block.id is not None]
        parts += 1
    assert heard == own
    assert 1 < parts <= len(own) // REPLAYED_MAX + 1


async def test_readers_are_limited_and_a_place_is_free_once_one_leaves(
    client: aiohttp.ClientSession, lively: Lively, link: Bus
) -> None:
    await publish(link, life(ID)[:-1])
    streams = [following(client, lively, ID) for _ in range(READERS_MAX)]
    opened = [await stream.__aenter__() for stream in streams]
    for stream in opened:
        await stream.event()
    for path in (f"/video/events/{ID}", "/video/events", f"/video/status/{ID}?wait=5"):
        async with client.get(lively.url + path) as answer:
            assert (answer.status, (await answer.json())["error"]) == (503, "OVERLOADED")
            assert int(answer.headers["Retry-After"]) > 0
    async with client.get(f"{lively.url}/video/status/{ID}") as answer:
        assert answer.status == 200
    for stream in streams:
        await stream.__aexit__(None, None, None)

    async def has_room() -> bool:
        async with client.get(f"{lively.url}/video/events/{ID}") as answer:
            return answer.status == 200

    await eventually(has_room)


async def test_an_edge_that_stops_ends_its_streams_at_once_and_they_go_on_elsewhere(
    client: aiohttp.ClientSession, edge: Edge, lively: Lively, link: Bus
) -> None:
    await publish(link, life(ID)[:-1])
    async with following(client, lively, ID) as stream, following(client, lively) as every:
        last = [await stream.event() for _ in life(ID)[:-1]][-1]
        began = time.monotonic()
        stopping = asyncio.create_task(asyncio.to_thread(lively.stop))
        end = await stream.event()
        assert (end.event, end.id) == ("reconnect", None)
        assert end.retry is not None
        assert 0 < end.retry <= 1000
        assert await stream.block() is None
        assert [block.event for block in await every.rest()] == ["reconnect"]
        assert await stopping == 0
        assert time.monotonic() - began < STOP_WITHIN_S
    async with following(client, edge, ID, last=last.id) as stream:
        await publish(link, life(ID)[-1:])
        assert [block.event for block in await stream.rest()] == ["succeeded"]
    lines = [line for line in lively.lines if line.get("route") == "/video/events/{job_id}"]
    assert [(line["event"], line["status"], line["job_id"]) for line in lines] == [("request_served", 200, ID)]
    assert lines[0]["bytes_out"] > 500


async def test_head_answers_at_once_and_other_methods_are_refused(
    client: aiohttp.ClientSession, edge: Edge, link: Bus
) -> None:
    await publish(link, life(ID)[:-1])
    async with client.head(f"{edge.url}/video/events/{ID}") as answer:
        assert (answer.status, await answer.read()) == (200, b"")
        assert answer.headers["Content-Type"].startswith("text/event-stream")
    async with client.head(f"{edge.url}/video/events/{OTHER}") as answer:
        assert answer.status == 404
    async with client.post(f"{edge.url}/video/events/{ID}", json={}) as answer:
        assert answer.status == 405


async def test_a_page_of_an_allowed_origin_may_read_a_stream(
    client: aiohttp.ClientSession, edges: Any, link: Bus, broker: Broker
) -> None:
    edge = edges(ALLOWED_ORIGINS="http://page.example")
    await edge.ready(client)
    await publish(link, life(ID))
    headers = {"Origin": "http://page.example", "Sec-Fetch-Site": "cross-site"}
    async with client.get(f"{edge.url}/video/events/{ID}", headers=headers) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] == "http://page.example"
        assert b"event: succeeded" in await answer.read()
    asks = {**headers, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "last-event-id"}
    async with client.options(f"{edge.url}/video/events/{ID}", headers=asks) as answer:
        assert "Last-Event-ID" in answer.headers["Access-Control-Allow-Headers"]


async def test_a_client_that_leaves_frees_its_place_and_leaves_one_line(
    client: aiohttp.ClientSession, edge: Edge, link: Bus
) -> None:
    await publish(link, life(ID)[:-1])
    async with talk(edge) as connection:
        await connection.say(get(f"/video/events/{ID}"))
        await connection.until(b"event: step")
    await eventually(lambda: [line for line in edge.lines if line.get("route") == "/video/events/{job_id}"])


async def test_without_a_broker_a_stream_is_refused_and_a_running_one_goes_on_after_its_return(
    client: aiohttp.ClientSession, lively: Lively, broker: Broker, link: Bus
) -> None:
    await publish(link, life(ID)[:2])
    async with following(client, lively, ID) as stream:
        while (block := await stream.block()) is None or block.comment is None:
            pass  # with the first comment, the past is told
        broker.kill()
        async with client.get(f"{lively.url}/video/events/{ID}") as answer:
            assert answer.status == 503
        broker.start()
        await publish(link, life(ID)[2:])
        assert [block.id for block in await stream.rest()] == (await sequences(link, ID))[2:]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_finished_stream_is_whole_in_either_version_of_http(edge: Edge, link: Bus, version: str) -> None:
    await publish(link, life(ID))
    head = get(f"/video/events/{ID}", "Host: a", "Connection: close")
    answer = await ask(edge, head.replace(b"HTTP/1.1", f"HTTP/{version}".encode()))
    assert answer.count(b"\nevent: ") == len(life(ID))
