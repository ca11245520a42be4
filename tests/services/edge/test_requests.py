"""The answers of a running edge to requests as people and their tools really write them."""

import asyncio
import gzip
import json
from collections.abc import Callable
from typing import Any, cast

import aiohttp
import msgspec
import pytest

from contracts.process import log
from services.edge.error_handlers import on_damaged
from services.edge.errors import Damaged
from tests.kit import auth
from tests.kit.edge import PROMPT, Edge, picture, post
from tests.kit.waiting import eventually
from tests.services.edge.talk import get

JSON = {"Content-Type": "application/json"}


async def send(client: aiohttp.ClientSession, edge: Edge, path: str, body: bytes, **headers: str) -> tuple[int, Any]:
    async with client.post(edge.url + path, data=body, headers={**JSON, **headers}) as answer:
        return answer.status, await answer.json()


def served(edge: Edge, path: str) -> list[dict[str, Any]]:
    return [line for line in edge.lines if line["event"] == "request_served" and line["path"] == path]


@pytest.mark.parametrize("path", ["/video/submit", "/video/status", "/video/cancel"])
async def test_every_body_that_is_no_json_is_refused_with_place_and_reason(
    client: aiohttp.ClientSession, edge: Edge, path: str
) -> None:
    for body, reason in (
        (b'{"requestId":"x",}', "a comma after the last field, at byte 17"),
        (b'{"requestId":"x\ny"}', "a line break in a text (it is written \\n), at byte 15"),
        (b"", "it is empty"),
        (gzip.compress(b"{}"), "it is compressed with gzip"),
        (b'{"requestId":"\xe9"}', "not in UTF-8, at byte 14"),
    ):
        code, answer = await send(client, edge, path, body)
        assert (code, answer["error"]) == (400, "VALIDATION_ERROR")
        if path != "/video/submit" or "UTF-8" not in reason:  # there the field is unknown, whatever is in it
            assert answer["details"][0]["field"] == "body"
            assert reason in answer["message"]
    coded = {"Content-Encoding": "gzip"}
    code, answer = await send(client, edge, path, gzip.compress(b"{}"), **coded)
    assert (code, answer["error"]) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert "gzip" in answer["message"]


async def test_a_large_body_is_refused_in_the_same_words(client: aiohttp.ClientSession, edge: Edge) -> None:
    body = json.dumps({"prompt": PROMPT, "image_url": "data:" + "x" * 100_000}).encode()[:-1] + b",}"
    code, answer = await send(client, edge, "/video/submit", body)
    assert code == 400
    assert answer["message"] == f"the body is not JSON: a comma after the last field, at byte {len(body) - 1}"


async def test_a_mark_and_half_an_emoji_do_no_harm(client: aiohttp.ClientSession, edge: Edge) -> None:
    body = json.dumps({"prompt": PROMPT + " \ud83d", "image_url": picture()}).encode()
    code, answer = await send(client, edge, "/video/submit", b"\xef\xbb\xbf" + body)
    assert code == 202
    ask = b"\xef\xbb\xbf" + json.dumps(answer).encode()
    assert (await send(client, edge, "/video/status", ask))[0] == 200
    assert (await send(client, edge, "/video/cancel", ask))[0] == 200


NO_IDS = ["A" * 32, "abc", "0" * 31, "0" * 33, "5d41402a-bc4b-2a76-b971-9d911017c592", "猫", "x" * 500]


async def test_an_id_that_is_none_is_answered_with_what_one_looks_like(
    client: aiohttp.ClientSession, edge: Edge
) -> None:
    for wrong in NO_IDS:
        await check_that_no_id_is_explained(client, edge, wrong)


async def check_that_no_id_is_explained(client: aiohttp.ClientSession, edge: Edge, wrong: str) -> None:
    async with client.get(f"{edge.url}/video/status/{wrong}") as answer:
        assert answer.status == 400
        body = await answer.json()
    assert body["details"][0]["field"] == "id"
    assert "32 lower-case hex characters" in body["message"]
    assert len(body["message"]) < 250
    code, body = await post(client, f"{edge.url}/video/status", {"requestId": wrong})
    assert (code, body["details"][0]["field"]) == (400, "requestId")
    assert "32 lower-case hex characters" in body["message"]


async def test_the_line_of_a_request_names_its_job_and_its_own_id(client: aiohttp.ClientSession, edge: Edge) -> None:
    headers = {"Idempotency-Key": "once"}
    body = {"prompt": PROMPT, "image_url": picture()}
    answer = (await post(client, f"{edge.url}/video/submit", body, headers))[1]
    assert await post(client, f"{edge.url}/video/submit", body, headers) == (202, answer)
    job_id = answer["requestId"]
    await post(client, f"{edge.url}/video/status", answer)
    async with client.get(f"{edge.url}/video/status/{job_id}") as status:
        http_request_id = status.headers["X-Request-Id"]
    await post(client, f"{edge.url}/video/cancel", answer)

    def lines() -> list[dict[str, Any]]:
        found = [
            line
            for path in ("/video/submit", "/video/status", f"/video/status/{job_id}", "/video/cancel")
            for line in served(edge, path)
        ]
        return found if len(found) == 5 else []

    found = await eventually(lines)
    assert [line["job_id"] for line in found] == [job_id] * 5
    assert found[3]["http_request_id"] == http_request_id != job_id
    assert not any("request_id" in line for line in edge.lines)


async def test_a_pipelined_request_has_no_job_of_the_one_before_it(edge: Edge) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(get(f"/video/status/{'0' * 32}") + get("/nothing?second", "Host: a", "Connection: close"))
    assert (await reader.read()).count(b"HTTP/1.1 ") == 2
    writer.close()
    lines = await eventually(lambda: [line for line in served(edge, "/nothing") if line["status"] == 404])
    assert not any("job_id" in line for line in lines)
    assert len({line["http_request_id"] for line in lines}) == len(lines)


def test_an_error_of_ours_names_the_http_request() -> None:
    with log.bound(http_request_id="a" * 32):
        answer = on_damaged(cast("Any", None), Damaged("it is shorter than its record says"))
    assert answer.status_code == 500
    assert msgspec.to_builtins(answer.content)["http_request_id"] == "a" * 32


@auth.WITHOUT_KEYS  # with keys the gate answers first: the job is nobody's
async def test_the_line_of_a_request_says_who_asked_for_what_and_how_much_went_in_and_out(
    client: aiohttp.ClientSession, edge: Edge
) -> None:
    body = json.dumps({"requestId": "0" * 32}).encode()
    code, answer = await send(client, edge, "/video/status", body)
    assert code == 404
    for path in (f"/video/status/{'0' * 32}", f"/videos/{'0' * 32}.mp4", "/nothing"):
        async with client.get(edge.url + path) as got:
            assert got.status == 404
    async with client.head(edge.url + "/docs/openapi.json") as got:
        assert got.status == 200
    await eventually(lambda: served(edge, "/docs/openapi.json"))
    (posted,) = served(edge, "/video/status")
    assert posted["job_id"] == "0" * 32
    assert (posted["route"], posted["status"], posted["client"]) == ("/video/status", 404, "127.0.0.1")
    assert (posted["bytes_in"], posted["bytes_out"]) == (len(body), len(msgspec.json.encode(answer)))
    routes = {line["path"]: line["route"] for line in edge.lines if line["event"] == "request_served"}
    assert routes[f"/video/status/{'0' * 32}"] == "/video/status/{job_id}"
    assert routes[f"/videos/{'0' * 32}.mp4"] == "/videos/{name}"
    assert routes["/nothing"] == "none"
    (head,) = served(edge, "/docs/openapi.json")
    assert (head["method"], head["route"], head["bytes_out"]) == ("HEAD", "/docs/openapi.json", 0)


@auth.WITHOUT_KEYS  # with keys the test asks for more
async def test_probes_are_logged_at_debug_alone(
    client: aiohttp.ClientSession, edges: Callable[..., Edge], edge: Edge
) -> None:
    talkative = edges(LOG_LEVEL="debug")
    await talkative.ready(client)
    for each in (edge, talkative):
        for path in ("/livez", "/readyz", "/health", "/metrics", "/nothing"):
            async with client.get(each.url + path) as answer:
                assert answer.status in (200, 404)
        await eventually(lambda: served(each, "/nothing"))  # noqa: B023  # it is awaited here
    lines = [line for line in edge.lines if line["event"] == "request_served"]
    assert [line["path"] for line in lines] == ["/nothing"]
    probes = [line for line in talkative.lines if line["event"] == "request_served" and line["path"] != "/nothing"]
    assert {line["route"] for line in probes} == {"/livez", "/readyz", "/health", "/metrics"}
    assert {line["level"] for line in probes} == {"debug"}
