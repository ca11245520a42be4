"""Raw sockets against a running edge, the corpus's among them."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from contracts.bus import Bus
from services.edge.__main__ import KEEP_ALIVE_S
from services.edge.guard import BODY_SILENCE_S_MAX, HEAD_BYTES_MAX, HEAD_WITHIN_S
from tests.conftest import Broker, eventually
from tests.services.edge.conftest import PROMPT, Edge, picture, post
from tests.services.edge.corpus import cases

FLOOD_BYTES = 200 * 1024**2
GROWTH_BYTES_MAX = 40 * 1024**2
A_LITTLE_S = 5.0


class Raw:
    """A connection on which anything may be said."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, Any]:
        """Status and body of one answer."""
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        length = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
        body = await self._reader.readexactly(int(length[1])) if length else b""
        return int(head.split()[1]), json.loads(body) if body else None

    async def closed(self, *, within_s: float) -> bool:
        """Whether the other side closes in time, whatever it says before."""
        try:
            async with asyncio.timeout(within_s):
                while await self._reader.read(65536):
                    pass
        except TimeoutError:
            return False
        except ConnectionError:
            return True
        return True


@asynccontextmanager
async def connect(edge: Edge) -> AsyncGenerator[Raw, None]:
    raw = Raw(*await asyncio.open_connection("127.0.0.1", edge.port))
    try:
        yield raw
    finally:
        raw.writer.close()


async def ask(edge: Edge, request: bytes) -> tuple[int, Any]:
    async with connect(edge) as raw:
        await raw.say(request)
        return await raw.answer()


@pytest.mark.parametrize("case", cases("raw"), ids=lambda case: case.name)
async def test_a_raw_request_of_the_corpus_is_refused(edge: Edge, case: Any) -> None:
    status, body = await ask(edge, case.input.encode())
    assert (status, set(body)) == (400, {"error", "message"})


async def test_other_raw_requests_are_refused_alike(edge: Edge) -> None:
    post_to = b"POST /video/status HTTP/1.1\r\nHost: a\r\n"
    for request in (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
        b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
        post_to + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        post_to + b"Content-Length: -1\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n",
    ):
        assert (await ask(edge, request))[0] == 400, request


@pytest.mark.parametrize("case", cases("header"), ids=lambda case: case.name)
async def test_a_header_of_the_corpus_harms_nothing(edge: Edge, client: aiohttp.ClientSession, case: Any) -> None:
    """Our API has no credentials and no origins: `Authorization` and `Origin` are not looked at."""
    async with client.get(f"{edge.url}/health", headers=case.input["headers"]) as answer:
        assert answer.status == 200
        assert "Access-Control-Allow-Origin" not in answer.headers


async def test_a_head_without_end_is_cut_off_and_takes_no_memory(edge: Edge) -> None:
    before = peak_bytes(edge)
    async with connect(edge) as raw:
        await raw.say(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
        with pytest.raises(ConnectionError):
            await flood(raw)
    assert peak_bytes(edge) - before < GROWTH_BYTES_MAX


async def flood(raw: Raw) -> None:
    piece = b"x" * 1024**2
    for _ in range(FLOOD_BYTES // len(piece)):
        await raw.say(piece)


def peak_bytes(edge: Edge) -> int:
    status = Path(f"/proc/{edge.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


async def test_a_head_that_is_too_large_is_told_so(edge: Edge) -> None:
    head = b"GET /livez HTTP/1.1\r\nHost: a\r\nX: " + b"x" * HEAD_BYTES_MAX + b"\r\n\r\n"
    status, body = await ask(edge, head)
    assert (status, body["error"]) == (431, "REQUEST_HEADER_FIELDS_TOO_LARGE")


async def test_silence_and_trickling_are_ended_in_time(edge: Edge) -> None:
    """At once on four connections, so that the waits are waited for once."""
    post = b"POST /video/status HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
    limits_s = {
        b"": HEAD_WITHIN_S,
        b"GET /livez HTTP/1.1\r\nHost: a\r\nX: ": HEAD_WITHIN_S,
        b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n": KEEP_ALIVE_S,
        post: BODY_SILENCE_S_MAX,
    }

    async def ended(said: bytes, limit_s: float) -> bool:
        async with connect(edge) as raw:
            await raw.say(said)
            return await raw.closed(within_s=limit_s + A_LITTLE_S)

    assert await asyncio.gather(*(ended(*case) for case in limits_s.items())) == [True] * 4
    assert "internal_error" not in edge.text


async def test_only_allowed_hosts_are_served_but_probes_always(
    edges: Callable[..., Edge], client: aiohttp.ClientSession, link: Bus
) -> None:
    edge = edges(ALLOWED_HOSTS="videos.example.org, *.example.net")
    await edge.ready(client)
    answers: dict[str, int] = {}
    for host in ("VIDEOS.example.org:8088", "a.example.net.", "example.net", "a.example.net.evil.com", "127.0.0.1"):
        async with client.get(f"{edge.url}/health", headers={"Host": host}) as answer:
            answers[host] = answer.status
            assert len(answer.headers["X-Request-Id"]) == 32
    assert list(answers.values()) == [200, 200, 400, 400, 400]
    async with client.get(f"{edge.url}/livez", headers={"Host": "10.0.0.9"}) as answer:
        assert answer.status == 200


async def test_a_request_in_flight_at_sigterm_gets_its_whole_answer_and_the_edge_ends_with_0(
    edge: Edge, client: aiohttp.ClientSession, broker: Broker
) -> None:
    body = json.dumps({"prompt": PROMPT, "image_url": picture(), "num_frames": 25}).encode()
    head = b"POST /video/submit HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    async with connect(edge) as raw:
        await raw.say(head % len(body) + body[:10])
        stopping = asyncio.create_task(asyncio.to_thread(edge.stop))
        await eventually(lambda: not listening(edge))
        await raw.say(body[10:])
        status, answered = await raw.answer()
    assert (status, set(answered)) == (202, {"requestId"})
    assert await stopping == 0


def listening(edge: Edge) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", edge.port)) == 0


async def test_an_idle_edge_ends_at_once(edge: Edge, client: aiohttp.ClientSession) -> None:
    assert (await post(client, f"{edge.url}/video/status", {"requestId": "0" * 32}))[0] == 404
    async with asyncio.timeout(A_LITTLE_S):
        assert await asyncio.to_thread(edge.stop) == 0
