"""The numbers of an edge: its requests, refusals and pictures, on its own port and on one for Prometheus."""

from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from contracts.broker import Bus
from tests.kit import auth
from tests.kit.edge import Edge, post, submit
from tests.kit.machine import free_port
from tests.kit.scrape import Scraped, read, scrape
from tests.kit.waiting import eventually
from tests.services.edge.talk import ask

TEXT = {"Accept": "text/plain"}


async def numbers(edge: Edge, client: aiohttp.ClientSession) -> Scraped:
    async with client.get(f"{edge.url}/metrics", headers=TEXT) as answer:
        assert answer.status == 200
        return read(await answer.text())


@auth.WITHOUT_KEYS  # with keys the gate answers first: the job is nobody's
async def test_requests_and_refusals_are_counted_by_route_code_and_reason(
    edge: Edge, client: aiohttp.ClientSession, link: Bus
) -> None:
    code, accepted = await submit(client, edge)
    assert code == 202
    unknown = "/video/status/" + "0" * 32
    for path, expected in ((f"/video/status/{accepted['requestId']}", 200), (unknown, 404), ("/nowhere", 404)):
        async with client.get(edge.url + path) as answer:
            assert answer.status == expected
    async with client.head(edge.url + unknown) as answer:
        assert answer.status == 404
    assert (await submit(client, edge, num_frames=7))[0] == 400
    for _ in range(5):
        await submit(client, edge)
    found = await numbers(edge, client)
    status = "/video/status/{job_id}"
    assert found.value("wanjet_http_requests_total", method="GET", route=status, code="200") == 1
    assert found.value("wanjet_http_requests_total", method="GET", route=status, code="404") == 1
    assert found.value("wanjet_http_requests_total", method="HEAD", route=status, code="404") == 1
    assert found.value("wanjet_http_requests_total", route="/video/submit", code="202") == 5
    assert found.value("wanjet_http_requests_total", route="/video/submit", code="429") == 1
    assert found.value("wanjet_http_request_seconds_count", route="/video/submit") == 7
    assert found.value("wanjet_refusals_total", reason="not_found") == 3
    assert found.value("wanjet_refusals_total", reason="validation_error") == 1
    assert found.value("wanjet_refusals_total", reason="busy") == 1
    assert found.value("wanjet_refusals_total", reason="internal_error") == 0
    assert found.value("wanjet_image_decode_seconds_count") == 5
    assert found.value("wanjet_edge_ready") == found.value("wanjet_broker_connected") == 1
    assert found.value("wanjet_broker_denials_total") == 0


async def test_nothing_of_the_whole_service_is_among_them(edge: Edge, client: aiohttp.ClientSession) -> None:
    found = await numbers(edge, client)
    assert not {name for name in found.names if name.startswith(("wanjet_jobs", "wanjet_clusters", "wanjet_state"))}


async def test_no_stranger_makes_series_without_end(edge: Edge, client: aiohttp.ClientSession) -> None:
    odd = ("PROPFIND", "MKCOL", "COPY", "LOCK", "REPORT", "PURGE")
    for method in odd:
        for number in range(5):
            async with client.request(method, f"{edge.url}/p{number}?q={number}") as answer:
                assert answer.status in (404, 405)
    found = await numbers(edge, client)
    assert found.value("wanjet_http_requests_total", method="other") == 5 * len(odd)
    assert len([1 for name, _ in found if name == "wanjet_http_requests_total"]) < 6


async def test_refusals_of_a_connection_are_counted_too(edge: Edge, client: aiohttp.ClientSession) -> None:
    await ask(edge, b"nonsense\r\n\r\n")
    found = await numbers(edge, client)
    assert found.value("wanjet_refusals_total", reason="bad_request") == 1


async def test_the_same_numbers_are_on_a_port_of_their_own(
    edges: Callable[..., Edge], link: Bus, client: aiohttp.ClientSession
) -> None:
    port = free_port()
    edge = edges(METRICS_HOST="127.0.0.1", METRICS_PORT=str(port))
    await edge.ready(client)
    there, here = await scrape(client, port), await numbers(edge, client)
    assert there is not None
    assert there.names == here.names


async def test_an_edge_without_a_broker_says_so(edge: Edge, client: aiohttp.ClientSession, broker: Any) -> None:
    broker.kill()

    async def says_so() -> bool:
        found = await numbers(edge, client)
        return found.value("wanjet_edge_ready") == found.value("wanjet_broker_connected") == 0

    await eventually(says_so, within_s=20)


@pytest.mark.parametrize("accept", ["*/*", "application/json", ""])
async def test_who_does_not_ask_for_the_text_gets_json(edge: Edge, client: aiohttp.ClientSession, accept: str) -> None:
    async with client.get(f"{edge.url}/metrics", headers={"Accept": accept}) as answer:
        assert "resources" in await answer.json()
    assert (await post(client, f"{edge.url}/video/status", {"requestId": "0" * 32}))[0] == 404
