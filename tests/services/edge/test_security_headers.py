"""The headers that every answer has against XSS, framing, leaks of addresses and stored answers."""

import json
from collections.abc import Callable

import aiohttp
import pytest

from contracts.broker import Bus
from contracts.job import video_name
from services.edge.docs.pages import POLICY
from tests.kit import auth
from tests.kit.builders import ID
from tests.kit.edge import Edge, submit
from tests.services.edge.live.test_web_socket import KEY
from tests.services.edge.talk import ask, get
from tests.services.edge.test_edge import end_succeeded

ALWAYS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
OVER_TLS = ("Strict-Transport-Security", "Cross-Origin-Opener-Policy")
OF_DATA = {
    **ALWAYS,
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}
OF_VIDEO = {
    **OF_DATA,
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; media-src 'self'; frame-ancestors 'none'",
    "Cache-Control": "private, max-age=31536000, immutable",
}
APP = "https://app.example.com"


def assert_has(answer: aiohttp.ClientResponse, expected: dict[str, str]) -> None:
    """Assert that each header is there once, with this value, and that no answer says by what it is served."""
    for name, value in expected.items():
        assert answer.headers.getall(name) == [value], (answer.method, answer.url, name)
    assert "Server" not in answer.headers


async def finished(client: aiohttp.ClientSession, edge: Edge, link: Bus) -> str:
    """Return the id of a job whose video is there."""
    job_id = (await submit(client, edge))[1]["requestId"]
    (edge.videos / video_name(job_id)).write_bytes(bytes(1000))
    await end_succeeded(link, job_id)
    return job_id


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/livez", 200), ("HEAD", "/livez", 200), ("GET", "/readyz", 200), ("GET", "/health", 200),
        ("GET", "/metrics", 200), ("GET", "/", 307), ("GET", "/nowhere", 404), ("PUT", "/livez", 405),
        ("GET", f"/video/status/{ID}", 404), ("GET", "/video/status/none", 400), ("GET", f"/videos/{ID}.mp4", 404),
        ("GET", f"/video/events/{ID}", 404), ("POST", "/video/submit", 415),
        ("POST", "/video/cancel", 415), ("GET", "/v1/videos", 200), ("GET", f"/v1/videos/video_{ID}", 404),
        ("GET", "/v1/models", 200), ("GET", "/video/ws/none", 426),
        pytest.param("GET", "/video/events", 403, marks=auth.WITHOUT_KEYS),
    ],
)  # fmt: skip
async def test_every_answer_is_data_that_no_page_loads_and_no_cache_keeps(
    client: aiohttp.ClientSession, edge: Edge, method: str, path: str, status: int
) -> None:
    async with client.request(method, edge.url + path, allow_redirects=False) as answer:
        assert answer.status == status
        assert_has(answer, OF_DATA)
        assert not any(name in answer.headers for name in OVER_TLS)


@pytest.mark.parametrize(
    "request_bytes",
    [get("/", "Host: a", "Host: b"), b"\x00\r\n\r\n", get("/", "Host: a", "X-A: " + "a" * 70_000)],
    ids=["smuggled", "malformed", "too large"],
)
async def test_a_connections_own_refusals_have_them_too(edge: Edge, request_bytes: bytes) -> None:
    head = (await ask(edge, request_bytes)).partition(b"\r\n\r\n")[0].decode().split("\r\n")
    found = dict(line.lower().split(": ", 1) for line in head[1:])
    for name, value in OF_DATA.items():
        assert found[name.lower()] == value
    assert "server" not in found


@pytest.mark.parametrize(
    ("path", "version", "key", "status"),
    [
        (f"/video/ws/{ID}", 13, KEY, 404), ("/video/ws/none", 13, KEY, 404), (f"/video/ws/{ID}?after=x", 13, KEY, 400),
        (f"/video/ws/{ID}", 8, KEY, 426), (f"/video/ws/{ID}", 13, "", 426), (f"/video/ws/{ID}", 13, "YQ==", 426),
    ],
)  # fmt: skip
@auth.WITHOUT_KEYS  # with keys the gate answers first: the job is nobody's
async def test_a_refused_web_socket_has_them_too(edge: Edge, path: str, version: int, key: str, status: int) -> None:
    upgrade = ("Host: a", "Connection: Upgrade", "Upgrade: websocket", f"Sec-WebSocket-Key: {key}")
    answer = await ask(edge, get(path, *upgrade, f"Sec-WebSocket-Version: {version}"))
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    found = dict(line.lower().split(": ", 1) for line in lines)
    assert (int(first.split()[1]), found["content-type"]) == (status, "application/json")
    assert set(json.loads(body)) >= {"error", "message"}
    for name, value in OF_DATA.items():
        assert found[name.lower()] == value
    assert status != 426 or (found["upgrade"], found["sec-websocket-version"]) == ("websocket", "13")


async def test_a_status_is_never_stored_and_a_video_is_kept(
    client: aiohttp.ClientSession, edge: Edge, link: Bus
) -> None:
    job_id = await finished(client, edge, link)
    async with client.get(f"{edge.url}/video/status/{job_id}") as answer:  # by the shortcut
        assert answer.status == 200
        assert_has(answer, OF_DATA)
    video = f"{edge.url}/videos/{job_id}.mp4"
    for headers, status in (({}, 200), ({"Range": "bytes=0-9"}, 206), ({"Range": "bytes=-9"}, 206)):
        async with client.get(video, headers=headers) as answer:
            assert answer.status == status
            assert_has(answer, OF_VIDEO)
            etag = answer.headers["ETag"]
    async with client.get(video, headers={"If-None-Match": etag}) as answer:
        assert answer.status == 304
        assert "Cross-Origin-Resource-Policy" not in answer.headers, "it would replace what the client keeps"
        assert_has(answer, {**ALWAYS, "Cache-Control": "private, max-age=31536000, immutable"})


async def test_videos_may_be_shown_by_pages_of_others_only_where_origins_are_allowed(
    client: aiohttp.ClientSession, edges: Callable[..., Edge], link: Bus
) -> None:
    edge = edges(ALLOWED_ORIGINS=APP)
    await edge.ready(client)
    job_id = await finished(client, edge, link)
    for headers in ({}, {"Range": "bytes=0-9"}, {"Origin": APP}):
        async with client.get(f"{edge.url}/videos/{job_id}.mp4", headers=headers) as answer:
            assert_has(answer, {"Cross-Origin-Resource-Policy": "cross-origin"})
    for path in (f"/video/status/{job_id}", "/livez", "/docs"):
        async with client.get(edge.url + path) as answer:
            assert_has(answer, {"Cross-Origin-Resource-Policy": "same-origin"})
    preflight = {"Origin": APP, "Access-Control-Request-Method": "POST"}
    async with client.options(f"{edge.url}/video/submit", headers=preflight) as answer:
        assert answer.status == 204
        assert_has(answer, OF_DATA)


async def test_the_page_has_its_own_policy_and_is_asked_for_again(client: aiohttp.ClientSession, edge: Edge) -> None:
    for path in ("/docs", "/docs/page.js", "/docs/openapi.json"):
        async with client.get(edge.url + path) as answer:
            assert_has(answer, {**OF_DATA, "Content-Security-Policy": POLICY, "Cache-Control": "no-cache"})
