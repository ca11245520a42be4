"""The events of a job over a WebSocket: as Server-Sent Events tell them, and with limits on what a client may send."""

import asyncio
import base64
import json
import time
from contextlib import suppress
from typing import Any

import aiohttp
import pytest

from contracts import subjects
from contracts.broker import Bus
from tests.kit.builders import ID
from tests.kit.edge import Edge
from tests.kit.waiting import eventually
from tests.services.edge.live.streams import READERS_MAX, Lively, life, publish, rss_kb
from tests.services.edge.talk import ask, get, talk

OTHER = "f" * 32
KEY = base64.b64encode(b"0123456789abcdef").decode()
UPGRADE = (
    "Host: a",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    f"Sec-WebSocket-Key: {KEY}",
)
FLOOD_S = 3.0
GROWTH_KB_MAX = 24 * 1024
"""Of the 127 MB of the flood; the edge also imports what its start does without."""


def url(edge: Edge, job_id: str = ID, query: str = "") -> str:
    return f"{edge.url}/video/ws/{job_id}{query}"


async def frames(socket: aiohttp.ClientWebSocketResponse) -> list[Any]:
    """Return what comes until the edge closes."""
    return [json.loads(message.data) async for message in socket]


async def refused(client: aiohttp.ClientSession, address: str, **headers: str) -> int:
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await client.ws_connect(address, headers=headers)
    return caught.value.status


async def test_the_frames_are_the_events_of_the_stream(client: aiohttp.ClientSession, edge: Edge, link: Bus) -> None:
    await publish(link, life(ID)[:3])
    async with client.ws_connect(url(edge)) as socket:
        first = [json.loads((await socket.receive()).data) for _ in range(3)]
        await publish(link, life(ID)[3:])
        told = [*first, *await frames(socket)]
        assert socket.close_code == 1000
    stored = await link.read(subjects.EVENTS_STREAM, subjects.ALL_EVENTS)
    assert [frame["id"] for frame in told] == [message.sequence for message in stored]
    assert [frame["event"] for frame in told] == ["submitted", "started", *["step"] * 5, "succeeded"]
    assert told[2]["data"]["step"] == 1
    async with client.ws_connect(url(edge, query=f"?after={told[4]['id']}")) as socket:
        assert await frames(socket) == told[5:]
    async with client.ws_connect(url(edge, query=f"?after={told[-1]['id']}")) as socket:
        assert await frames(socket) == []

    def served() -> list[dict[str, Any]]:
        return [line for line in edge.lines if line.get("route") == "/video/ws/{job_id}"]

    await eventually(lambda: len(served()) >= 3, within_s=10)
    lines = served()
    assert [(line["status"], line["job_id"], line["method"]) for line in lines] == [(101, ID, "GET")] * 3
    assert lines[0]["bytes_out"] > lines[1]["bytes_out"] > lines[2]["bytes_out"] == 0


async def test_what_cannot_be_followed_is_refused_in_place_of_the_upgrade(
    client: aiohttp.ClientSession, edge: Edge, link: Bus
) -> None:
    await publish(link, life(ID)[:-1])
    assert await refused(client, url(edge, OTHER)) == 404
    assert await refused(client, url(edge, "x")) == 404
    assert await refused(client, url(edge, query="?after=x")) == 400
    answer = await ask(edge, get(f"/video/ws/{OTHER}", *UPGRADE))
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b'"error":"NOT_FOUND"' in answer
    async with client.get(url(edge)) as plain:
        assert (plain.status, plain.headers["Upgrade"]) == (426, "websocket")
        assert (await plain.json())["error"] == "UPGRADE_REQUIRED"


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://page.example", True), ("http://PAGE.example:80", True), ("https://page.example", False),
        ("http://evil.example", False), ("null", False), ("http://{host}", True), ("http://{host}.evil.example", False),
    ],
)  # fmt: skip
async def test_a_page_of_another_origin_must_be_allowed(
    client: aiohttp.ClientSession, edges: Any, link: Bus, origin: str, allowed: bool
) -> None:
    edge = edges(ALLOWED_ORIGINS="http://page.example")
    await edge.ready(client)
    await publish(link, life(ID))
    headers = {"Origin": origin.format(host=f"127.0.0.1:{edge.port}")}
    if allowed:
        async with client.ws_connect(url(edge), headers=headers) as socket:
            assert len(await frames(socket)) == len(life(ID))
    else:
        assert await refused(client, url(edge), **headers) == 403


async def test_a_host_that_is_not_served_gets_no_socket(client: aiohttp.ClientSession, edges: Any, link: Bus) -> None:
    edge = edges(ALLOWED_HOSTS="page.example")
    await edge.ready(client)
    await publish(link, life(ID))
    assert await refused(client, url(edge)) == 403
    async with client.ws_connect(url(edge), headers={"Host": "page.example"}) as socket:
        assert await frames(socket)


@pytest.mark.parametrize(("text", "code"), [("hello", 1003), ("x" * 2000, 1009)])
async def test_a_client_that_sends_messages_is_closed(
    client: aiohttp.ClientSession, edge: Edge, link: Bus, text: str, code: int
) -> None:
    await publish(link, life(ID)[:1])
    async with client.ws_connect(url(edge)) as socket:
        await socket.receive()
        await socket.send_str(text)
        assert await frames(socket) == []
        assert socket.close_code == code


async def test_sockets_count_as_readers_and_are_told_that_the_edge_stops(
    client: aiohttp.ClientSession, lively: Lively, link: Bus
) -> None:
    await publish(link, life(ID)[:1])
    sockets = [await client.ws_connect(url(lively)) for _ in range(READERS_MAX)]
    for socket in sockets:
        await socket.receive()
    assert await refused(client, url(lively)) == 503
    began = time.monotonic()
    stopping = asyncio.create_task(asyncio.to_thread(lively.stop))
    for socket in sockets:
        assert [frame["event"] for frame in await frames(socket)] == ["reconnect"]
        assert socket.close_code == 1012
    assert await stopping == 0
    assert time.monotonic() - began < 5


async def test_an_upgrade_behind_an_unanswered_request_is_refused(edge: Edge, link: Bus) -> None:
    await publish(link, life(ID)[:1])
    async with talk(edge) as connection:
        await connection.say(get(f"/video/events/{ID}") + get(f"/video/ws/{ID}", *UPGRADE))
        heard = await connection.rest()
    assert b"101 Switching" not in heard


@pytest.mark.parametrize(
    "request_",
    [
        get(f"/video/ws/{ID}", "Host: a", "Connection: Upgrade", "Upgrade: websocket"),
        get(f"/video/ws/{ID}", *UPGRADE[:-1], "Sec-WebSocket-Key: x"),
        get(f"/video/ws/{ID}", *UPGRADE, "X-Long: " + "x" * 20_000),
        get(f"/video/ws/{ID}", *UPGRADE).replace(b"GET", b"POST"),
    ],
)
async def test_a_malformed_upgrade_is_answered_and_harms_nobody(edge: Edge, link: Bus, request_: bytes) -> None:
    await publish(link, life(ID)[:1])
    async with talk(edge) as connection:
        await connection.say(request_)
        assert (await connection.until(b"\r\n\r\n"))[9:10] == b"4"
    assert edge.alive
    assert not [line for line in edge.lines if line["level"] == "error"]


async def test_pings_are_answered_and_answers_that_are_not_read_do_not_pile_up(edge: Edge, link: Bus) -> None:
    await publish(link, life(ID)[:1])
    ping = b"\x89\xfd\x00\x00\x00\x00" + b"x" * 125
    async with talk(edge) as connection:
        await connection.say(get(f"/video/ws/{ID}", *UPGRADE))
        await connection.until(b"\r\n\r\n")
        await connection.say(ping)
        await connection.until(b"x" * 125)
        before = rss_kb(edge.pid)
        with suppress(TimeoutError):  # the edge stops reading
            async with asyncio.timeout(FLOOD_S):
                await connection.flood(ping * 1000, 1000)
        assert rss_kb(edge.pid) - before < GROWTH_KB_MAX
    await eventually(lambda: [line for line in edge.lines if line.get("route") == "/video/ws/{job_id}"])
