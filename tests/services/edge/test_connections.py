"""Many connections at a real edge, what each may ask for at once, and its end under all of them. One connection's bytes
are in test_guard.py."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from contracts.broker import Bus
from contracts.job import video_name
from tests.kit import auth
from tests.kit.broker import Broker
from tests.kit.edge import Edge, submit
from tests.kit.waiting import eventually
from tests.services.edge.talk import (
    ONE_HOST,
    Impatient,
    Talk,
    alive,
    ask,
    get,
    parsed,
    post,
    talk,
)

CONNECTIONS = 32
UPLOADS = 4
PIPELINED = 5000
GROWTH_MB_MAX = 60
DRAIN_S = 1.0
ENDS_WITHIN_S = 12

SMALL = f"""
import sys, uvloop
from contracts.process import env, start
from services.edge import __main__ as edge
from services.edge.http import crowd, server, uploads
for module, limit in ((uploads, "UPLOADS_MAX"), (uploads, "HEAD_START_BYTES"), (server, "DRAIN_S")):
    assert hasattr(module, limit)
assert edge.connections_for(10**9) == crowd.CONNECTIONS_MAX
edge.connections_for = lambda files: {CONNECTIONS}
uploads.UPLOADS_MAX, uploads.HEAD_START_BYTES, server.DRAIN_S = {UPLOADS}, 0, {DRAIN_S}
start.configure("edge")
sys.exit(0 if uvloop.run(edge.serve(env.read(edge.Settings))) else 1)
"""


class Small(Impatient):
    """An edge for few connections and fewer uploads."""

    def __init__(self, folder: Path, broker: Broker, **variables: str) -> None:
        super().__init__(folder, broker, **variables)
        self._arguments = ["-c", SMALL]


@pytest.fixture
async def small(
    tmp_path: Path, broker: Broker, link: Bus, client: aiohttp.ClientSession
) -> AsyncGenerator[Small, None]:
    edge = Small(tmp_path, broker)
    edge.start()
    await edge.ready(client)
    yield edge
    if edge.alive:
        assert edge.stop() == 0, edge.text


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Generator[Impatient, None, None]:
    folder = tmp_path_factory.mktemp("lonely")
    edge = Small(folder, Broker(folder), AUTH="off")  # no broker: what is tested comes before one is asked
    edge.start()
    yield edge
    assert edge.stop() == 0, edge.text


@pytest.fixture
async def lonely(started: Impatient) -> Impatient:
    await eventually(lambda: alive(started), within_s=20)
    return started


@asynccontextmanager
async def held(edge: Edge, said: bytes, count: int) -> AsyncGenerator[list[Talk], None]:
    """Open so many connections one after the other, each of which has sent these bytes."""
    async with AsyncExitStack() as open_ones:
        found: list[Talk] = []
        for _ in range(count):
            found.append(await open_ones.enter_async_context(talk(edge)))
            await found[-1].say(said)
        yield found


UPLOAD = post("/video/submit", "Content-Length: 1000000") + b"{"
LAST = ("Host: a", "Connection: close")


@pytest.mark.parametrize(
    "said", [b"", b"GET /", get("/livez"), UPLOAD], ids=["silent", "half a head", "idle", "upload"]
)
async def test_probes_statuses_and_submissions_go_on_whatever_others_hold_open(
    small: Small, client: aiohttp.ClientSession, said: bytes
) -> None:
    _, accepted = await submit(client, small)
    async with held(small, said, 4 * CONNECTIONS):
        for path in ("/livez", "/readyz", "/health", "/metrics", f"/video/status/{accepted['requestId']}"):
            assert parsed(await ask(small, get(path, *LAST)))[0] == 200
        async with auth.client_session() as other:
            assert (await submit(other, small))[0] == 202


async def test_the_slowest_upload_is_told_that_it_is_and_a_probe_needs_no_room(small: Small) -> None:
    async with held(small, UPLOAD, UPLOADS) as uploads, held(small, UPLOAD, 1):
        code, body = parsed(await uploads[0].rest())
        assert (code, body["error"]) == (408, "REQUEST_TIMEOUT")
        assert parsed(await ask(small, get("/livez", *LAST)))[0] == 200
    assert not [line for line in small.lines if line["event"] in ("internal_error", "Exception in ASGI application\n")]


async def test_an_upload_beyond_the_limit_is_asked_to_come_again_where_all_get_on(small: Small) -> None:
    async with held(small, UPLOAD + bytes(60_000), UPLOADS):
        answer = await ask(small, UPLOAD)
        code, body = parsed(answer)
        assert (code, body["error"]) == (503, "OVERLOADED")
        assert b"Retry-After: " in answer and b"nosniff" in answer


async def test_requests_beyond_the_limit_are_asked_to_come_again_and_probes_are_answered(
    small: Small, broker: Broker
) -> None:
    broker.send(signal.SIGSTOP)  # from now on every status takes its time
    try:
        async with held(small, get(f"/video/status/{'0' * 32}"), CONNECTIONS):
            answer = await ask(small, get(f"/video/status/{'0' * 32}", *LAST))
            assert (parsed(answer)[0], parsed(answer)[1]["error"]) == (503, "OVERLOADED")
            assert b"Retry-After: " in answer
            assert parsed(await ask(small, get("/livez", *LAST)))[0] == 200
    finally:
        broker.send(signal.SIGCONT)


FEW_FILES = 100
FEW = f"""
import resource, runpy
resource.setrlimit(resource.RLIMIT_NOFILE, ({FEW_FILES}, {FEW_FILES}))
runpy.run_module("services.edge", run_name="__main__")
"""


async def test_an_edge_of_few_descriptors_keeps_what_it_needs_of_them(
    tmp_path: Path, broker: Broker, link: Bus, client: aiohttp.ClientSession
) -> None:
    edge = Edge(tmp_path, broker)
    edge._arguments = ["-c", FEW]
    edge.start()
    try:
        await edge.ready(client)
        async with held(edge, get("/livez"), 3 * FEW_FILES):
            for _ in range(4):
                async with auth.client_session() as other:
                    assert (await submit(other, edge))[0] == 202
            assert parsed(await ask(edge, get("/readyz", *LAST)))[0] == 200
    finally:
        assert edge.stop() == 0, edge.text
    assert "Too many open files" not in edge.text


async def test_pipelined_requests_are_all_answered_in_their_order(lonely: Impatient) -> None:
    body = b'{"requestId": "x"}'
    one = get("/livez") + post("/video/status", f"Content-Length: {len(body)} ") + body + get("/nowhere")
    chunked = post("/video/status", "Transfer-Encoding: chunked") + b"12\r\n" + body + b"\r\n0\r\n\r\n"
    async with talk(lonely) as connection:
        saying = asyncio.create_task(connection.say((one + chunked) * 200 + get("/livez", *LAST)))
        heard = await connection.rest()
        await saying
    statuses = [int(part.split(b" ", 1)[0]) for part in heard.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [200, 400, 404, 400] * 200 + [200]


async def test_pipelined_requests_whose_answers_nobody_reads_cost_next_to_nothing(lonely: Impatient) -> None:
    before_kb = lonely.peak_kb
    flood = get("/docs/swagger-ui-bundle.js") * PIPELINED
    async with AsyncExitStack() as open_ones:
        deaf = [await open_ones.enter_async_context(talk(lonely)) for _ in range(CONNECTIONS // 2)]
        sending = [asyncio.create_task(connection.say(flood)) for connection in deaf]
        try:
            for _ in range(20):
                assert parsed(await ask(lonely, get("/livez", *LAST)))[0] == 200
            assert lonely.peak_kb - before_kb < GROWTH_MB_MAX * 1024
        finally:
            for one in sending:
                one.cancel()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
async def test_a_signal_ends_an_edge_in_time_whatever_its_clients_do_and_in_few_lines(
    small: Small, number: signal.Signals
) -> None:
    async with AsyncExitStack() as open_ones:
        uploads = await open_ones.enter_async_context(held(small, UPLOAD, UPLOADS))
        for said in (b"", b"GET /", get("/livez"), get("/docs/swagger-ui-bundle.js") * 50):
            await open_ones.enter_async_context(held(small, said, 5))
        assert parsed(await ask(small, get("/livez", *LAST)))[0] == 200
        lines, began = len(small.lines), time.monotonic()
        assert await asyncio.to_thread(small.stop, number) == 0
        assert time.monotonic() - began < ENDS_WITHIN_S
        told = [parsed(await upload.rest()) for upload in uploads]
    assert {(code, body["error"]) for code, body in told} == {(503, "UNAVAILABLE")}
    events = [line["event"] for line in small.lines[lines:]]
    assert "requests_cut_off" in events
    assert len([event for event in events if event not in ("request_served", "key_used")]) < 5
    assert "Traceback" not in small.text


async def test_a_store_that_hangs_does_not_hold_an_edge(tmp_path: Path, broker: Broker, link: Bus) -> None:
    async def health_hangs() -> bool:  # before the first canary is stored, the edge does not ask the stores
        try:
            async with asyncio.timeout(1):
                await ask(edge, get("/health", *LAST))
        except TimeoutError:
            return True
        return False

    assert link.connected
    edge = Small(tmp_path, broker)
    hangs = "import time\nfrom contracts.stores import Folder\nimport asyncio\n"
    hangs += "async def trouble(self, room_bytes=0): return await asyncio.to_thread(time.sleep, 60)\n"
    edge._arguments = ["-c", hangs + "Folder.trouble = trouble\n" + SMALL]
    edge.start()
    await eventually(lambda: alive(edge), within_s=20)
    await eventually(health_hangs, within_s=20)
    async with held(edge, get("/health"), 3):
        assert parsed(await ask(edge, get("/livez", *LAST)))[0] == 200
        began = time.monotonic()
        assert await asyncio.to_thread(edge.stop) == 0
    assert time.monotonic() - began < ENDS_WITHIN_S
    assert "end_not_awaited" in edge.text


@pytest.mark.parametrize(
    ("said", "code", "word"),
    [
        (b"OPTIONS /livez RTSP/1.0\r\nHost: a\r\n\r\n", 400, "HTTP/1.1"),
        (b"DESCRIBE /livez RTSP/1.0\r\nHost: a\r\n\r\n", 400, "HTTP/1.1"),
        (b"GET /livez RTSP/1.0\r\nHost: a\r\n\r\n", 400, "HTTP/1.1"),
        (b"SOURCE /livez ICE/1.0\r\nHost: a\r\n\r\n", 400, "HTTP/1.1"),
        (post("/video/status", "Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n", 501, "chunked"),
        (post("/video/status", "Transfer-Encoding: gzip", "Transfer-Encoding: chunked") + b"0\r\n\r\n", 501, "chunked"),
        (post("/video/submit", "Idempotency-Key: a", "Idempotency-Key: b", "Content-Length: 2") + b"{}", 400, "Key"),
        (post("/video/submit", "Content-Type: text/plain", "Content-Length: 2") + b"{}", 400, "Content-Type"),
        (get("/videos/x.mp4", "Host: a", "Range: bytes=0-1", "Range: bytes=2-3"), 400, "Range"),
        (get("http://b/livez", "Host: a", "Host: b"), 400, ONE_HOST), (get("wss://a/livez"), 400, "http://"),
    ],
)  # fmt: skip
async def test_what_can_be_read_in_two_ways_is_refused_and_says_why(
    lonely: Impatient, said: bytes, code: int, word: str
) -> None:
    answer = await ask(lonely, said + get("/livez"))
    assert answer.count(b"Content-Length: ") == 1
    assert parsed(answer)[0] == code
    assert word in parsed(answer)[1]["message"]
    assert b"X-Content-Type-Options: nosniff" in answer


async def test_the_host_of_an_absolute_target_is_the_one_that_counts(
    edges: Callable[..., Edge], link: Bus, client: aiohttp.ClientSession
) -> None:
    edge = edges(ALLOWED_HOSTS="good.test")
    await edge.ready(client)

    async def code(target: str, host: str) -> int:
        return parsed(await ask(edge, get(target, f"Host: {host}", "Connection: close")))[0]

    assert await code("http://good.test/health", "evil.test") == 200
    assert await code("http://good.test:81/health?x", "evil.test") == 200
    assert await code("http://evil.test/health", "good.test") == 400
    assert await code("http://evil.test?/health", "good.test") == 400
    assert await code("https://good.test/health", "evil.test") == 200
    assert await code("https://evil.test/health", "good.test") == 400
    assert await code("ftp://good.test/health", "good.test") == 400
    assert await code("http://good.test@evil.test/health", "good.test") == 400
    assert await code("/health", "good.test") == 200


async def test_no_answer_is_left_to_a_guess_of_its_type(edge: Edge, client: aiohttp.ClientSession) -> None:
    name = video_name("0" * 32)
    (edge.videos / name).write_bytes(bytes(1000))
    asked = ("/livez", "/readyz", "/health", "/metrics", "/docs", "/docs/page.js", "/docs/openapi.json", "/nowhere",
             f"/videos/{name}", "/videos/x.mp4", f"/video/status/{'0' * 32}")  # fmt: skip
    for path in asked:
        for accept in ("*/*", "text/plain", "application/openmetrics-text"):
            async with client.get(f"{edge.url}{path}", headers={"Accept": accept}) as answer:
                assert answer.headers.getall("X-Content-Type-Options") == ["nosniff"]
                assert answer.headers["Content-Type"].count("charset") <= 1
                assert len(answer.headers.getall("Content-Type")) == 1


async def test_what_anybody_may_see_names_no_job(edge: Edge, client: aiohttp.ClientSession, link: Bus) -> None:
    from tests.services.edge.test_edge import cluster  # noqa: PLC0415  # which is a test itself

    _, accepted = await submit(client, edge)
    await cluster(link, instance="1" * 32, current_jobs=[accepted["requestId"], "2" * 32])
    for path in ("/health", "/metrics", "/readyz", "/livez", "/docs/openapi.json", "/nowhere"):
        for accept in ("*/*", "text/plain", "application/openmetrics-text"):
            async with client.get(f"{edge.url}{path}", headers={"Accept": accept}) as answer:
                text = await answer.text()
        assert not any(secret in text for secret in (accepted["requestId"], "1" * 32, "2" * 32))
    async with client.get(f"{edge.url}/health") as answer:
        (seen,) = json.loads(await answer.text())["clusters"]
    assert seen["jobs_running"] == 2
    assert "instance" not in seen and "current_jobs" not in seen
