"""An edge as balancers, probers and browsers' pages meet it: HEAD, HTTP/1.0, idle connections, other origins."""

import asyncio
import http.client
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from contracts.broker import Bus
from contracts.process.start import EX_CONFIG
from services.edge.docs.openapi import document
from services.edge.http.origins import is_allowed
from services.edge.settings import KEEP_ALIVE_S, Settings
from tests.kit import auth
from tests.kit.edge import PROMPT, Edge, picture
from tests.kit.machine import free_port
from tests.kit.process import completed
from tests.kit.waiting import eventually

GETS = (
    "/livez",
    "/readyz",
    "/health",
    "/metrics",
    "/docs",
    "/docs/openapi.json",
    "/docs/events",
    "/docs/events.json",
    "/openapi.json",
    "/docs/page.js",
    "/",
)
APP = "http://localhost:3000"
EXPOSED = ("Location", "Retry-After", "X-Request-Id", "Idempotent-Replayed")


async def raw(edge: Edge, request: bytes) -> bytes:
    """Send these bytes on a new connection, and return all that comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    try:
        writer.write(request)
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()


def ask(edge: Edge, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", edge.port, timeout=10)
    try:
        connection.request(method, path, headers=auth.HEADERS)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


async def test_head_is_answered_as_get_is_without_the_body(client: aiohttp.ClientSession, edge: Edge) -> None:
    for path in (*GETS, f"/video/status/{'0' * 32}", "/video/status/x", "/nowhere", f"/videos/{'0' * 32}.mp4"):
        (got, headers, body), (asked, heads, nothing) = ask(edge, "GET", path), ask(edge, "HEAD", path)
        assert (asked, nothing) == (got, b""), path
        assert {name for name in heads if name != "x-request-id"} == {
            name for name in headers if name != "x-request-id"
        }
        if path not in ("/health", "/metrics"):  # whose numbers change
            assert heads["content-length"] == headers["content-length"] == str(len(body)), path
    for path in ("/video/submit", "/video/cancel"):
        assert ask(edge, "HEAD", path)[0] == 405
    lines = await eventually(lambda: [line for line in edge.lines if line.get("method") == "HEAD"])
    assert lines


@auth.WITHOUT_KEYS  # with keys the gate answers first: the job is nobody's
async def test_allow_names_every_method_of_a_path(client: aiohttp.ClientSession, edge: Edge) -> None:
    for path, item in document()["paths"].items():
        methods = {method.upper() for method in item} | {"OPTIONS"} | ({"HEAD"} if "get" in item else set())
        asked = path.format(id=f"video_{'0' * 32}" if path.startswith("/v1") else "0" * 32, model="wan", name="page.js")
        for method, expected in (("OPTIONS", 204), ("PATCH", 405)):
            async with client.request(method, edge.url + asked) as answer:
                assert answer.status == expected, path
                assert answer.headers.getall("Allow") == [", ".join(sorted(methods))], (method, path)


async def test_a_connection_goes_on_after_a_head(edge: Edge) -> None:
    said = await raw(
        edge,
        b"HEAD /readyz HTTP/1.1\r\nHost: a\r\n\r\nGET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    )
    assert said.count(b"HTTP/1.1 200") == 2
    assert said.endswith(b'{"status":"alive"}')


async def test_http_1_0_without_a_host_is_served(edge: Edge) -> None:
    shown = [line.encode() for line in auth.LINES]
    for path in (b"/livez", b"/readyz", b"/health", b"/metrics"):
        for method in (b"GET", b"HEAD", b"OPTIONS"):
            said = await raw(edge, b"\r\n".join([method + b" " + path + b" HTTP/1.0", *shown, b"", b""]))
            assert said.startswith(b"HTTP/1.1 20"), said
    said = await raw(edge, b"GET http://a/livez HTTP/1.0\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 200")
    assert (await raw(edge, b"GET /livez HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 400")


async def test_without_a_host_only_probes_are_served_where_hosts_are_limited(
    edges: Callable[..., Edge], link: Bus, client: aiohttp.ClientSession
) -> None:
    edge = edges(ALLOWED_HOSTS="wanjet.example")
    await edge.ready(client)
    for path, expected in ((b"/livez", b"200"), (b"/readyz", b"200"), (b"/docs", b"400")):
        assert (await raw(edge, b"GET " + path + b" HTTP/1.0\r\n\r\n")).split()[1] == expected
    for host, expected in ((b"wanjet.example", b"200"), (b"evil.example", b"400")):
        said = await raw(edge, b"GET http://" + host + b"/docs HTTP/1.0\r\n\r\n")
        assert said.split()[1] == expected


HAPROXY = """
defaults
  mode http
  timeout connect 2s
  timeout client 30s
  timeout server 30s
  timeout check 2s
frontend f
  bind 127.0.0.1:{front}
  use_backend by_head if {{ path_beg /head }}
  default_backend by_get
backend by_get
  option httpchk GET /readyz
  server edge 127.0.0.1:{edge} check inter 100ms fall 1 rise 1
backend by_head
  option httpchk HEAD /livez
  http-request set-path /livez
  server edge 127.0.0.1:{edge} check inter 100ms fall 1 rise 1
"""


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed: apt-get install haproxy")
async def test_haproxys_own_checks_find_an_edge_ready(
    edges: Callable[..., Edge], client: aiohttp.ClientSession, link: Bus, tmp_path: Path
) -> None:
    front, edge = free_port(), edges(LOG_LEVEL="debug")  # at which probes are logged
    await edge.ready(client)
    (tmp_path / "haproxy.cfg").write_text(HAPROXY.format(front=front, edge=edge.port))
    command = ["haproxy", "-db", "-f", str(tmp_path / "haproxy.cfg")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as proxy:  # noqa: ASYNC220  # it returns at once
        try:

            async def served(path: str) -> bool:
                try:
                    async with client.get(f"http://127.0.0.1:{front}{path}") as answer:
                        return answer.status == 200
                except aiohttp.ClientError:
                    return False

            for path in ("/livez", "/head"):
                await eventually(lambda path=path: served(path))
            checked = [line for line in edge.lines if line.get("path") == "/readyz"]
            await eventually(
                lambda: len([one for one in edge.lines if one.get("path") == "/readyz"]) > len(checked) + 5
            )
            for path in ("/livez", "/head"):  # after its checks, too
                assert await served(path)
        finally:
            proxy.terminate()


def test_idle_connections_are_kept_longer_than_balancers_keep_theirs() -> None:
    assert Settings().keep_alive == KEEP_ALIVE_S > 600


async def test_how_long_an_idle_connection_is_kept_can_be_set(
    edges: Callable[..., Edge], link: Bus, client: aiohttp.ClientSession
) -> None:
    edge = edges(KEEP_ALIVE="1")
    await edge.ready(client)
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
    await reader.readuntil(b"alive")
    began = time.monotonic()
    async with asyncio.timeout(10):
        assert (await reader.read()).endswith(b"}")
    assert time.monotonic() - began > 0.5
    writer.close()


@pytest.mark.parametrize(("variable", "wrong"), [("KEEP_ALIVE", "0"), ("KEEP_ALIVE", "1e9"), ("KEEP_ALIVE", "nan")])
def test_a_wrong_time_stops_the_start_and_names_the_variable(variable: str, wrong: str) -> None:
    done = completed("-m", "services.edge", within_s=60, **{variable: wrong})
    assert done.returncode == EX_CONFIG
    assert done.stderr.startswith(f"{variable} was ")


ALLOWED = (
    APP,
    "https://App.Example.com",
    "https://*.pages.example",
    "http://127.0.0.1:*",
    "http://[::1]:8080",
    "app://a",
)


@pytest.mark.parametrize(
    "origin",
    [
        APP, "HTTP://LOCALHOST:3000", "https://app.example.com", "https://app.example.com:443", "https://a.pages.example",
        "https://a.b.pages.example", "http://127.0.0.1", "http://127.0.0.1:5173", "http://[::1]:8080", "app://a",
    ],
)  # fmt: skip
def test_an_allowed_origin_is_one_by_scheme_host_and_port(origin: str) -> None:
    assert is_allowed(origin, ALLOWED)


@pytest.mark.parametrize(
    "origin",
    [
        "", "null", "NULL", "*", "http://localhost", "http://localhost:3001", "https://localhost:3000",
        "http://localhost.evil.example:3000", "https://app.example.com:8443", "http://app.example.com",
        "https://app.example.com.evil.example", "https://evil.example/app.example.com", "https://pages.example",
        "https://apages.example", "https://a.pages.example:8443", "https://evil@app.example.com", "file://",
        "https://app.example.com, https://evil.example", "http://localhost:3000/", "http://127.0.0.2:80", "app://b",
        "http://[::1]", "https://*.pages.example", "http://127.0.0.1:*", "https://[a.pages.example]",
    ],
)  # fmt: skip
def test_another_origin_is_not_allowed(origin: str) -> None:
    assert not is_allowed(origin, ALLOWED)


def test_a_star_allows_every_origin_but_null_and_what_is_none() -> None:
    assert all(is_allowed(origin, ("*",)) for origin in (APP, "https://evil.example", "chrome-extension://abc"))
    assert not any(is_allowed(origin, ("*",)) for origin in ("null", "", "*", "evil.example", "http://"))


@pytest.mark.parametrize(
    "wrong", ["localhost:3000", "https://a.example/", "null", "https://a.*.example", "https://", "https://a b"]
)
def test_an_origin_that_is_none_stops_the_start(wrong: str) -> None:
    done = completed("-m", "services.edge", within_s=60, ALLOWED_ORIGINS=f"{APP},{wrong}")
    assert done.returncode == EX_CONFIG
    assert done.stderr.startswith("ALLOWED_ORIGINS was ")


async def test_a_page_of_an_allowed_origin_may_submit_and_read_the_answer(
    edges: Callable[..., Edge], link: Bus, client: aiohttp.ClientSession
) -> None:
    edge = edges(ALLOWED_ORIGINS=APP)
    await edge.ready(client)
    preflight = {
        "Origin": APP,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,idempotency-key",
    }
    async with client.options(f"{edge.url}/video/submit", headers=preflight) as answer:
        assert answer.status == 204
        assert answer.headers["Access-Control-Allow-Origin"] == APP
        assert "POST" in answer.headers["Access-Control-Allow-Methods"]
        allowed = answer.headers["Access-Control-Allow-Headers"].lower()
        assert "content-type" in allowed and "idempotency-key" in allowed
        assert "Origin" in ", ".join(answer.headers.getall("Vary"))
        assert "Access-Control-Allow-Credentials" not in answer.headers
    body = {"prompt": PROMPT, "image_url": picture()}
    for site in ("same-site", "cross-site"):
        headers = {"Origin": APP, "Sec-Fetch-Site": site, "Idempotency-Key": "page"}
        async with client.post(f"{edge.url}/video/submit", json=body, headers=headers) as answer:
            assert answer.status == 202
            assert answer.headers["Access-Control-Allow-Origin"] == APP
            assert answer.headers["Vary"] == "Origin"
            exposed = answer.headers["Access-Control-Expose-Headers"].split(", ")
            assert set(EXPOSED) <= set(exposed)
            assert "Access-Control-Allow-Credentials" not in answer.headers
    for path, status in (("/video/submit", 400), ("/nowhere", 405)):
        async with client.post(f"{edge.url}{path}", json={}, headers={"Origin": APP}) as answer:
            assert answer.headers["Access-Control-Allow-Origin"] == APP
            assert answer.status in (status, 404)


async def test_a_page_of_another_origin_is_refused_as_ever(
    edges: Callable[..., Edge], link: Bus, client: aiohttp.ClientSession
) -> None:
    edge = edges(ALLOWED_ORIGINS=APP)
    await edge.ready(client)
    body = {"prompt": PROMPT, "image_url": picture()}
    for origin in ("http://localhost:3001", "null", "https://evil.example"):
        preflight = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        async with client.options(f"{edge.url}/video/submit", headers=preflight) as answer:
            assert not [name for name in answer.headers if name.lower().startswith("access-control-")]
            assert answer.headers["Vary"] == "Origin"
        headers = {"Origin": origin, "Sec-Fetch-Site": "same-site"}
        async with client.post(f"{edge.url}/video/submit", json=body, headers=headers) as answer:
            assert answer.status == 403
            assert "Access-Control-Allow-Origin" not in answer.headers
    async with client.post(f"{edge.url}/video/submit", json=body, headers={"Sec-Fetch-Site": "cross-site"}) as answer:
        assert answer.status == 403
    async with client.get(f"{edge.url}/livez") as answer:
        assert answer.headers["Vary"] == "Origin"


async def test_without_the_setting_no_answer_speaks_of_origins(client: aiohttp.ClientSession, edge: Edge) -> None:
    headers = {"Origin": APP, "Access-Control-Request-Method": "POST"}
    for method in ("OPTIONS", "GET"):
        async with client.request(method, f"{edge.url}/readyz", headers=headers) as answer:
            named = {name.lower() for name in answer.headers}
            assert not any(name.startswith("access-control-") or name == "vary" for name in named)
    async with client.post(
        f"{edge.url}/video/submit", json={}, headers={"Origin": APP, "Sec-Fetch-Site": "same-site"}
    ) as answer:
        assert answer.status == 403


async def test_the_root_leads_to_the_documentation(client: aiohttp.ClientSession, edge: Edge) -> None:
    async with client.get(edge.url) as answer:
        assert (answer.status, answer.url.path) == (200, "/docs")
    async with client.get(f"{edge.url}/openapi.json") as answer:
        assert (await answer.json())["openapi"].startswith("3.1")
