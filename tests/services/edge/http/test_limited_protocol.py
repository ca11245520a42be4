"""An edge and clients that misuse HTTP: slow loris, floods, malformed requests."""

import asyncio
import json
import socket
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from contracts.broker import Bus
from contracts.job import video_name
from tests.kit.broker import Broker
from tests.kit.edge import Edge
from tests.kit.waiting import eventually
from tests.services.edge.corpus import Case, cases
from tests.services.edge.talk import (
    ONE_HOST,
    PAUSE_S,
    PIECE,
    SHORT_S,
    Impatient,
    alive,
    ask,
    get,
    parsed,
    post,
    talk,
)

FLOOD_BYTES = 200 * 1024 * 1024
GROWTH_KB_MAX = 16 * 1024


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Generator[Impatient, None, None]:
    folder = tmp_path_factory.mktemp("impatient")
    edge = Impatient(folder, Broker(folder), AUTH="off")  # no broker: what is tested comes before one is asked
    edge.start()
    yield edge
    assert edge.stop() == 0, edge.text


@pytest.fixture
async def impatient(started: Impatient) -> Impatient:
    await eventually(lambda: alive(started), within_s=20)
    return started


@pytest.mark.parametrize(
    ("before", "piece"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\nX-A: ", b"a" * PIECE),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", b"a: b\r\n" * (PIECE // 6)),
        (b"GET /", b"a" * PIECE),
        (b"", b"\r\n" * (PIECE // 2)),
        (post("/video/status", "Transfer-Encoding: chunked") + b"1\r\n{\r\n0\r\n", b"a: b\r\n" * (PIECE // 6)),
        (post("/video/status", "Transfer-Encoding: chunked") + b"1\r\n{\r\n0\r\nX-A: ", b"a" * PIECE),
        (post("/video/status", "Transfer-Encoding: chunked") + b"1;", b"a" * PIECE),
    ],
    ids=["one header", "many headers", "the path", "empty lines", "trailers", "one trailer", "a chunk extension"],
)
async def test_a_flood_of_what_is_no_body_is_cut_off_and_memory_stays_flat(
    impatient: Impatient, before: bytes, piece: bytes
) -> None:
    peak_kb = impatient.peak_kb
    async with talk(impatient) as connection:
        await connection.say(before)
        heard, _ = await asyncio.gather(connection.rest(), connection.flood(piece, FLOOD_BYTES // len(piece)))
    assert parsed(heard)[0] == 431
    assert parsed(heard)[1]["error"] == "REQUEST_HEADER_FIELDS_TOO_LARGE"
    assert impatient.peak_kb - peak_kb < GROWTH_KB_MAX
    assert await alive(impatient)


async def test_a_large_head_is_served_up_to_the_limit(impatient: Impatient) -> None:
    async def status(size: int) -> int:
        return parsed(await ask(impatient, get("/livez", "Host: a", "Connection: close", "X-A: " + "a" * size)))[0]

    assert [await status(size) for size in (60_000, 65_400, 65_600, 100_000)] == [200, 200, 431, 431]
    many = [f"X-{n}: a" for n in range(200)]
    assert parsed(await ask(impatient, get("/livez", "Host: a", *many)))[0] == 431


@pytest.mark.parametrize(
    "said",
    [b"", b"GET /", b"GET /livez HTTP/1.1\r\nHost: a\r\nX-A: ", get("/livez") + b"GET /livez HTTP/1.1\r\nX-A: "],
    ids=["nothing", "a path", "half a head", "a second head"],
)
async def test_a_head_that_does_not_come_in_time_ends_its_connection(impatient: Impatient, said: bytes) -> None:
    async with talk(impatient) as silent, talk(impatient) as trickling:
        for connection in (silent, trickling):
            await connection.say(said)
        heard, trickled = await asyncio.gather(silent.rest(), trickling.trickle() if said else trickling.rest())
    assert heard.count(b"HTTP/1.1 200") == said.count(b"\r\n\r\n")
    assert trickled.count(b"HTTP/1.1 ") == said.count(b"\r\n\r\n")


async def test_an_empty_line_after_a_request_does_not_hold_a_connection_for_ever(impatient: Impatient) -> None:
    async with talk(impatient) as connection:
        await connection.say(get("/livez"))
        assert (await connection.answer())[0] == 200
        await connection.say(b"\r\n")
        assert await connection.rest() == b""


@pytest.mark.parametrize("answered", [False, True], ids=["before its answer", "after its answer"])
async def test_a_body_that_stays_away_ends_its_connection(impatient: Impatient, answered: bool) -> None:
    head = post("/video/status", "Content-Length: 100000000" if answered else "Content-Length: 100")
    async with talk(impatient) as connection:
        await connection.say(head + b"{")
        heard = await (connection.trickle() if answered else connection.rest())
    assert heard == b"" if not answered else parsed(heard)[0] == 413


async def test_a_slow_body_that_gets_on_is_read_to_its_end(impatient: Impatient) -> None:
    body = b'{"requestId": "x"}     '
    async with talk(impatient) as connection:
        await connection.say(post("/video/status", f"Content-Length: {len(body)}"))
        began = asyncio.get_running_loop().time()
        for byte in body:
            with suppress(TimeoutError):
                async with asyncio.timeout(PAUSE_S):
                    raise AssertionError(await connection.answer())
            await connection.say(bytes([byte]))
        assert asyncio.get_running_loop().time() - began > 2 * SHORT_S
        assert (await connection.answer())[0] == 400


async def test_a_connection_is_used_on_after_a_body_that_was_refused_early(impatient: Impatient) -> None:
    size = 100_000
    async with talk(impatient) as connection:
        await connection.say(post("/video/status", f"Content-Length: {size}"))
        assert (await connection.answer())[0] == 413
        await connection.say(b" " * size + get("/livez"))
        assert (await connection.answer())[0] == 200


@pytest.mark.parametrize(
    "said",
    [
        b"GET /livez HTTP/1.1\r\n\r\n", get("/livez", "Host: a", "Host: a"),
        get("/livez", "Host: a", "hOST: b"), b"GET /livez\r\n\r\n",
        b"POST /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 2\r\n\r\n{}",
    ],
)  # fmt: skip
async def test_a_request_with_no_host_or_two_is_refused(impatient: Impatient, said: bytes) -> None:
    code, body = parsed(await ask(impatient, said))
    assert (code, body["error"]) == (400, "BAD_REQUEST")
    assert body["message"] == ONE_HOST or said.startswith(b"GET /livez\r\n")


@pytest.mark.parametrize(
    "said",
    [
        post("/video/status", "Content-Length: 3", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
        post("/video/status", "Transfer-Encoding: chunked", "Content-Length: 3") + b"0\r\n\r\n",
        post("/video/status", "Content-Length: 3", "Content-Length: 4") + b"{}  ",
        post("/video/status", "Content-Length: -1"), post("/video/status", "Content-Length: +1") + b"{",
        post("/video/status", "Content-Length: 99999999999999999999999"),
        post("/video/status", "Transfer-Encoding: chunked, identity") + b"0\r\n\r\n",
        post("/video/status", "Transfer-Encoding: chunked") + b"banana\r\n{}\r\n0\r\n\r\n",
        post("/video/status", "Transfer-Encoding: chunked") + b"2\r\n{}x\r\n0\r\n\r\n",
        post("/video/status", "Connection: Upgrade", "Upgrade: h2c", "Content-Length: 2") + get("/livez"),
        post("/video/status", "Connection: Upgrade", "Upgrade: websocket", "Transfer-Encoding: chunked"),
        get("/livez", "Host: a", "X-A : b"), get("/livez", "Host: a", " folded"), get("/livez", "Host: a", "X-A: \x01"),
        get("/livez", "Host: a", "X-A: b\nX-B: c"), get("/li vez"), get("/livez\x00"), get("\u00e9"),
        b"GET /livez HTTP/2.0\r\nHost: a\r\n\r\n", b"GET /livez HTTP/0.9\r\nHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01\x02\x00\x01",
        b"\x00" * 100, b"BANANA / HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)  # fmt: skip
async def test_what_is_not_beyond_doubt_is_refused_once_in_our_shape(impatient: Impatient, said: bytes) -> None:
    heard = await ask(impatient, said)
    code, body = parsed(heard)
    assert (code, body["error"], heard.count(b"\r\n\r\n")) == (400, "BAD_REQUEST", 1)
    assert b"connection: close" in heard.lower()


@pytest.mark.parametrize("case", cases("raw"), ids=lambda case: case.name)
async def test_a_raw_case_of_the_corpus_is_refused(impatient: Impatient, case: Case) -> None:
    assert case.expect == "reject"
    code, body = parsed(await ask(impatient, case.input.encode("latin-1")))
    assert (code, body["error"]) == (400, "BAD_REQUEST")


async def test_a_refusal_is_never_taken_for_the_answer_of_the_request_before(impatient: Impatient) -> None:
    body = json.dumps({"requestId": "0" * 32}).encode()
    first = post("/video/status", f"Content-Length: {len(body)}") + body  # waits for a broker that is not there
    assert await ask(impatient, first + b"nonsense\r\n\r\n") == b""


async def test_an_answer_that_nobody_reads_ends_its_connection(
    tmp_path: Path, broker: Broker, link: Bus, client: aiohttp.ClientSession
) -> None:
    edge = Impatient(tmp_path, broker, AUTH="off")  # the video is nobody's
    edge.start()
    try:
        await edge.ready(client)
        name, size = video_name("0" * 32), 64 * PIECE
        with (edge.videos / name).open("wb") as video:
            video.truncate(size)
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect(("127.0.0.1", edge.port))
            deaf.sendall(get(f"/videos/{name}"))
            await eventually(lambda: any(line.get("path") == f"/videos/{name}" for line in edge.lines))
        async with client.get(f"{edge.url}/videos/{name}") as answer:  # who reads gets all of it
            assert len(await answer.read()) == size
    finally:
        assert edge.stop() == 0, edge.text


# The corpus is another project's; our contract decides. It has no keys, so `Authorization` is ignored (corpus: 401). A
# foreign `Origin` alone is not refused (corpus: 403): without CORS headers its page neither sends JSON nor reads
# answers. There is no event stream and no multipart, so `Last-Event-ID` means nothing here.
OURS = {"auth-basic", "origin-cross"}


async def test_the_header_cases_of_the_corpus_are_served_and_never_break_anything(
    edges: Callable[..., Edge], link: Bus, client: aiohttp.ClientSession
) -> None:
    edge = edges(AUTH="off")
    await edge.ready(client)
    name = video_name("0" * 32)
    (edge.videos / name).write_bytes(bytes(1000))
    for case in cases("header"):
        assert case.expect == "accept" or case.kind_class in OURS
        for path in ("/livez", "/health", f"/videos/{name}"):
            async with client.get(f"{edge.url}{path}", headers=case.input["headers"]) as answer:
                assert answer.status in ((200, 206, 416) if path.startswith("/videos") else (200,)), case.name
                assert "Access-Control-Allow-Origin" not in answer.headers
