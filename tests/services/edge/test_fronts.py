"""What clients are promised, over TLS of the edge's own, and behind nginx and Caddy as ops/proxy has them."""

import asyncio
import base64
import io
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
from aiohttp import web

from contracts.broker import Bus
from contracts.job import video_name
from tests.kit import auth
from tests.kit.builders import ID
from tests.kit.certificates import Files, made
from tests.kit.edge import PROMPT, Edge, picture, submit
from tests.kit.machine import free_port
from tests.kit.reverse_proxy import Caddy, Nginx, ReverseProxy
from tests.kit.waiting import eventually
from tests.services.edge import handshakes
from tests.services.edge.live.streams import EventReader, life, publish
from tests.services.edge.test_edge import end_succeeded

PROXIES: dict[str, type[ReverseProxy]] = {"nginx": Nginx, "caddy": Caddy}
PIECES, PIECE = 40, bytes(range(256)) * 1024
UPLOAD_BYTES = 6 * 1024 * 1024
TOO_LARGE_BYTES = 40 * 1024 * 1024
HEARD_WITHIN_S = 30


def proxy_or_skip(name: str) -> type[ReverseProxy]:
    if not PROXIES[name].installed():
        pytest.skip(f"{name} IS NOT INSTALLED, AND ITS SNIPPET NOT TESTED: apt-get install nginx-light caddy")
    return PROXIES[name]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path, made())


@pytest.fixture
async def trusting(files: Files) -> AsyncGenerator[aiohttp.ClientSession, None]:
    """A client that trusts the certificate of `files` alone."""
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=files.cert))
    async with auth.client_session(connector=connector, timeout=aiohttp.ClientTimeout(60)) as client:
        yield client


class Front(NamedTuple):
    """Where clients find an edge, over TLS: `own`, or the name of a proxy."""

    kind: str
    url: str
    port: int
    edge: Edge


@pytest.fixture(params=["own", *PROXIES])
async def front(  # noqa: PLR0917  # pytest gives them by name
    request: pytest.FixtureRequest,
    tmp_path: Path,
    edges: Callable[..., Edge],
    link: Bus,
    files: Files,
    trusting: aiohttp.ClientSession,
) -> AsyncGenerator[Front, None]:
    """A ready edge with TLS of its own, or behind a proxy."""
    if request.param == "own":
        edge = edges(**files.variables)
        await edge.ready(trusting)
        yield Front(request.param, edge.url, edge.port, edge)
        return
    kind, edge = proxy_or_skip(request.param), edges()
    async with proxied(kind, tmp_path, edge.port, files, trusting) as proxy:
        yield Front(request.param, proxy.url, proxy.port, edge)


@asynccontextmanager
async def proxied(
    kind: type[ReverseProxy], folder: Path, upstream: int, files: Files, client: aiohttp.ClientSession
) -> AsyncGenerator[ReverseProxy, None]:
    """A proxy that answers for a server, at whose `/readyz` it is asked."""
    proxy = kind(folder, upstream, files)
    proxy.start()

    async def ready() -> bool:
        assert proxy.alive, proxy.text
        try:
            async with client.get(f"{proxy.url}/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    try:
        await eventually(ready, within_s=60)
        yield proxy
    finally:
        proxy.stop()


def at(front: Front) -> Edge:
    """Return the edge, as the helpers of requests take it, with the address of its front."""
    front.edge.url = front.url
    return front.edge


async def test_parts_of_videos_and_whole_ones(front: Front, trusting: aiohttp.ClientSession, link: Bus) -> None:
    job_id = (await submit(trusting, at(front)))[1]["requestId"]
    content = PIECE * PIECES
    (front.edge.videos / video_name(job_id)).write_bytes(content)
    await end_succeeded(link, job_id)
    address = f"{front.url}/videos/{job_id}.mp4"
    for asked, expected, status in (
        (None, content, 200),
        ("bytes=300000-300099", content[300000:300100], 206),
        ("bytes=-77", content[-77:], 206),
    ):
        async with trusting.get(address, headers={} if asked is None else {"Range": asked}) as answer:
            assert (answer.status, await answer.read()) == (status, expected)
            etag = answer.headers["ETag"]
    async with trusting.get(address, headers={"Range": f"bytes={len(content)}-"}) as answer:
        assert answer.status == 416
    async with trusting.get(address, headers={"If-None-Match": etag}) as answer:
        assert answer.status == 304
    async with trusting.head(address) as answer:
        assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(content)))


async def test_uploads_and_what_is_too_large_in_the_edges_own_words(
    front: Front, trusting: aiohttp.ClientSession
) -> None:
    form = aiohttp.FormData({"prompt": PROMPT})
    form.add_field("image", io.BytesIO(_picture()), filename="a.png")
    async with trusting.post(f"{front.url}/video/submit", data=form) as answer:
        assert answer.status == 202, await answer.text()
        assert answer.headers["Location"].startswith("/video/status/")
    if front.kind == "caddy":
        return  # it resets a connection whose client goes on sending after the answer, which may be lost by that
    body = f'{{"prompt": "{PROMPT}", "image_url": "data:image/png;base64,{"A" * TOO_LARGE_BYTES}"}}'
    large = io.BytesIO(body.encode())
    headers = {"Content-Type": "application/json", "Expect": "100-continue"}
    async with trusting.post(f"{front.url}/video/submit", data=large, headers=headers) as answer:
        assert (answer.status, (await answer.json())["error"]) == (413, "TOO_LARGE")


def _picture() -> bytes:
    """Return a picture of some megabytes: what stands behind it does not matter."""
    return base64.b64decode(picture().partition(",")[2]) + bytes(UPLOAD_BYTES)


async def test_events_come_as_they_happen_by_stream_and_by_socket(
    front: Front, trusting: aiohttp.ClientSession, link: Bus
) -> None:
    told = life(ID)
    await publish(link, told[:2])
    address = f"{front.url}/video/events/{ID}"
    async with trusting.get(address) as answer, trusting.ws_connect(f"{front.url}/video/ws/{ID}") as socket:
        reader = EventReader(answer)
        async with asyncio.timeout(HEARD_WITHIN_S):
            for n, _ in enumerate(told):
                if n >= 2:
                    await publish(link, told[n : n + 1])  # only once the one before was heard
                heard = await reader.event()
                assert (await socket.receive_json())["id"] == heard.id
            assert await reader.rest() == []


async def test_no_old_version_no_weak_cipher_and_one_of_each_header(
    front: Front, trusting: aiohttp.ClientSession
) -> None:
    assert await handshakes.versions(front.port) == {"tls1_2", "tls1_3"}
    found = await handshakes.ciphers(front.port)
    assert found and all(name.startswith("ECDHE-ECDSA-") and ("GCM" in name or "CHACHA20" in name) for name in found)
    async with trusting.get(f"{front.url}/livez") as answer:
        for name in (
            "Strict-Transport-Security", "Cross-Origin-Opener-Policy", "X-Content-Type-Options", "Referrer-Policy",
            "Content-Security-Policy", "Cache-Control",
        ):  # fmt: skip
            assert len(answer.headers.getall(name)) == 1, name
        assert answer.headers.get("Server", "nginx") == "nginx"  # which cannot leave it out


@asynccontextmanager
async def echo(seen: "asyncio.Queue[dict[str, Any]]") -> AsyncGenerator[int, None]:
    """A server that notes the headers of each request before its body, and answers with the body's length."""

    async def answer(request: web.Request) -> web.Response:
        if request.path != "/readyz":
            await seen.put({name.lower(): value for name, value in request.headers.items()})
        return web.json_response({"bytes": len(await request.read())})

    runner = web.AppRunner(web.Application(client_max_size=2 * TOO_LARGE_BYTES))
    runner.app.router.add_route("*", "/{path:.*}", answer)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield port
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("name", PROXIES)
async def test_a_proxy_says_who_asks_whatever_the_client_says_and_passes_uploads_on_as_they_come(
    name: str, tmp_path: Path, files: Files, trusting: aiohttp.ClientSession
) -> None:
    kind, seen, rest = proxy_or_skip(name), asyncio.Queue[dict[str, Any]](), asyncio.Event()

    async def upload() -> AsyncGenerator[bytes, None]:
        yield PIECE
        await rest.wait()
        yield PIECE

    async with echo(seen) as upstream, proxied(kind, tmp_path, upstream, files, trusting) as proxy:
        spoofed = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "gopher"}
        asking = asyncio.create_task(_posted(trusting, f"{proxy.url}/video/submit", upload(), spoofed))
        async with asyncio.timeout(HEARD_WITHIN_S):
            headers = await seen.get()  # before the second half is sent
            rest.set()
            assert await asking == {"bytes": 2 * len(PIECE)}
        assert headers["x-forwarded-for"] == "127.0.0.1"
        assert headers["x-forwarded-proto"] == "https"
        assert headers["host"] == f"127.0.0.1:{proxy.port}"


async def _posted(client: aiohttp.ClientSession, url: str, data: Any, headers: dict[str, str]) -> Any:
    async with client.post(url, data=data, headers=headers) as answer:
        assert answer.status == 200
        return await answer.json()
