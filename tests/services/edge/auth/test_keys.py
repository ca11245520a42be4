"""Keys on a running edge: when they count, what is logged of them, how long a stream lasts, and limits."""

import asyncio
import math
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import aiohttp
import pytest

from contracts import api_key, subjects
from contracts.api_key import TenantLimits
from contracts.broker import Bus, Unavailable
from ops.key_entries import limit, revoke
from services.edge.auth import keys as keys_of_edge
from services.edge.auth.audit import REFUSED_LINES_MAX
from services.edge.auth.key_table import BadKey, Fault, KeyTable
from services.edge.auth.keys import Keys
from tests.kit.auth import KNOWN_WITHIN_S, bearer, known
from tests.kit.broker import Broker
from tests.kit.builders import submitted
from tests.kit.edge import Edge
from tests.kit.waiting import eventually
from tests.services.edge.auth.holders import bad_holders, entry_of, holder, id_of
from tests.services.edge.live.streams import publish
from tests.services.edge.talk import talk

REVOKED_WITHIN_S = 5.0
A_SLOW_MACHINE = 3
Headers = dict[str, str]


@pytest.fixture
async def closed(edges: Callable[..., Edge], link: Bus, client: aiohttp.ClientSession) -> Edge:
    """An edge that asks for keys."""
    edge = edges(AUTH="keys")
    await edge.ready(client)
    return edge


async def status_of(client: aiohttp.ClientSession, edge: Edge, shown: Headers, path: str = "/v1/models") -> int:
    async with client.get(edge.url + path, headers=shown) as answer:
        return answer.status


def shown(headers: Headers) -> list[bytes]:
    return [value.encode() for value in headers.values()]


async def test_a_revoked_key_is_refused_at_every_edge_within_5_s_and_its_streams_end(
    edges: Callable[..., Edge], closed: Edge, link: Bus, client: aiohttp.ClientSession
) -> None:
    other_edge = edges(AUTH="keys")
    await other_edge.ready(client)
    good, stays = await holder(link, "acme"), await holder(link, "acme")
    for edge in (closed, other_edge):
        await known(client, edge.url, stays)
        assert await status_of(client, edge, good) == 200
    job = submitted()
    await publish(link, [job])
    socket_holder = await holder(link, job.tenant)
    await known(client, closed.url, socket_holder)
    async with (
        client.get(f"{closed.url}/video/events", headers=good) as stream,
        client.ws_connect(f"{closed.url}/video/ws/{job.job_id}", headers=socket_holder) as socket,
    ):
        await revoke(link, id_of(socket_holder))
        began = time.monotonic()
        await revoke(link, id_of(good))
        for edge in (closed, other_edge):

            async def refused(edge: Edge = edge) -> bool:
                return await status_of(client, edge, good) == 401

            await eventually(refused, within_s=A_SLOW_MACHINE * REVOKED_WITHIN_S)
        assert time.monotonic() - began < A_SLOW_MACHINE * REVOKED_WITHIN_S
        told = await asyncio.wait_for(stream.content.read(), A_SLOW_MACHINE * (REVOKED_WITHIN_S + 3))
        assert b"event: reconnect" in told
        frames = [message.data async for message in socket]
        assert '"event":"reconnect"' in frames[-1] and socket.close_code == 1012
    assert await status_of(client, closed, stays) == 200


async def test_a_key_counts_until_it_expires(closed: Edge, link: Bus, client: aiohttp.ClientSession) -> None:
    soon = await holder(link, "acme", expires_at=time.time() + 6)
    await known(client, closed.url, soon)

    async def refused() -> bool:
        return await status_of(client, closed, soon) == 401

    await eventually(refused, within_s=KNOWN_WITHIN_S)


async def test_an_edge_whose_keys_cannot_be_read_lets_nobody_in_and_is_not_ready(
    edges: Callable[..., Edge], broker: Broker, client: aiohttp.ClientSession
) -> None:
    edge = edges(AUTH="keys")
    await eventually(lambda: edge.answers(client, "/livez"), within_s=60)
    key = bearer(api_key.text_of(*api_key.new_key()))
    assert await status_of(client, edge, key) == 503
    assert await status_of(client, edge, {}, "/readyz") == 503


async def test_known_keys_go_on_for_a_while_without_the_broker_and_then_none_does(
    link: Bus, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, unknown = shown(await holder(link, "acme")), shown(bearer(api_key.text_of(*api_key.new_key())))
    keys = Keys(link)
    with pytest.raises(Unavailable):
        keys.caller(good)
    await keys.look()
    assert keys.caller(good).tenant == "acme"
    broker.kill()
    monkeypatch.setattr(keys_of_edge, "LOOK_WITHIN_S", 0.2)
    with pytest.raises(Unavailable):
        await keys.look()
    assert keys.caller(good).tenant == "acme"
    with pytest.raises(BadKey):
        keys.caller(unknown)
    monkeypatch.setattr(keys_of_edge, "GOOD_FOR_S", 0.0)
    for each in (good, unknown):
        with pytest.raises(Unavailable):
            keys.caller(each)
    monkeypatch.undo()
    broker.start()

    async def looked() -> bool:
        with suppress(Unavailable):
            await keys.look()
            return True
        return False

    await eventually(looked, within_s=60)
    assert keys.caller(good).tenant == "acme"


async def test_what_is_removed_from_the_bucket_by_other_means_is_refused(link: Bus) -> None:
    stream = subjects.bucket_stream(subjects.KEYS_BUCKET)
    emptied, deleted, purged, stays = [await holder(link, tenant) for tenant in "abcd"]
    keys = Keys(link)
    await keys.look()

    async def is_refused(each: Headers) -> bool:
        await keys.look()
        try:
            keys.caller(shown(each))
        except BadKey:
            return True
        return False

    await link.put_last(subjects.KEYS_BUCKET, subjects.key_entry(id_of(emptied)), b"")
    assert await is_refused(emptied)
    entry = subjects.bucket_key(subjects.KEYS_BUCKET, subjects.key_entry(id_of(deleted)))
    stored = await link.last(stream, entry)
    assert stored is not None
    await link.delete(stream, stored.sequence)
    assert await is_refused(deleted)
    entry = subjects.bucket_key(subjects.KEYS_BUCKET, subjects.key_entry(id_of(purged)))
    await link.admin.purge_stream(stream, subject=entry)
    assert await is_refused(purged)
    assert not await is_refused(stays)
    await link.admin.purge_stream(stream)
    assert await is_refused(stays)
    assert not await is_refused(await holder(link, "e"))


async def test_an_entry_that_cannot_be_read_is_refused_and_no_other(link: Bus) -> None:
    good, broken, moved = await holder(link, "a"), await holder(link, "b"), await holder(link, "c")
    await link.put_last(subjects.KEYS_BUCKET, subjects.key_entry(id_of(broken)), b'{"id":7}')
    await link.put_last(subjects.KEYS_BUCKET, subjects.key_entry(id_of(moved)), await entry_of(link, good))
    keys = Keys(link)
    await keys.look()
    assert keys.caller(shown(good)).tenant == "a"
    for bad in (broken, moved):
        with pytest.raises(BadKey):
            keys.caller(shown(bad))


async def test_a_caller_has_the_limits_of_its_tenant(link: Bus) -> None:
    good = await holder(link, "acme", "read")
    await limit(link, "acme", {"jobs_max": 3, "submissions_a_minute": 60})
    assert await limit(link, "acme", {"submissions_a_minute": None}) == TenantLimits(tenant="acme", jobs_max=3)
    keys = Keys(link)
    await keys.look()
    caller = keys.caller(shown(good))
    assert (caller.tenant, caller.scopes, caller.jobs_max, caller.submissions_a_minute) == ("acme", ("read",), 3, None)
    assert caller.key_id == id_of(good)


async def test_the_log_names_keys_by_their_ids_and_a_flood_does_not_fill_it(
    closed: Edge, link: Bus, client: aiohttp.ClientSession
) -> None:
    good, bad = await holder(link, "acme"), await bad_holders(link, "acme")
    await known(client, closed.url, good)
    for _ in range(REFUSED_LINES_MAX):
        for each in bad.values():
            assert await status_of(client, closed, each) == 401
    assert await status_of(client, closed, good) == 200
    async with client.post(f"{closed.url}/video/cancel", json={"requestId": "f" * 32}, headers=good) as answer:
        assert answer.status == 404
    async with client.delete(f"{closed.url}/v1/videos/video_{'d' * 32}", headers=good) as answer:
        assert answer.status == 404
    lines = await closed.logged(client)
    for each in (good, *bad.values()):
        for secret in [part.split("_")[-2] for part in each.values() if part.count("_") >= 2]:
            assert secret not in closed.text
    refused = [line for line in lines if line["event"] == "key_refused"]
    assert len(refused) == REFUSED_LINES_MAX
    assert {line["why"] for line in refused} == {fault.value for fault in Fault}
    assert id_of(bad["revoked"]) in {line["key_id"] for line in refused}
    served = [line for line in lines if line["event"] == "request_served" and line["status"] in (200, 404)]
    assert {(line["tenant"], line["key_id"]) for line in served if line["path"] == "/video/cancel"} == {
        ("acme", id_of(good))
    }
    assert not any("key_id" in line for line in served if line["path"] == "/readyz")
    used = [line for line in lines if line["event"] == "key_used"]
    assert [(line["action"], line["outcome"], line["job_id"]) for line in used] == [
        ("cancel", 404, "f" * 32),
        ("delete", 404, "d" * 32),
    ]


async def test_a_request_without_a_good_key_is_answered_before_its_body(closed: Edge) -> None:
    for path in ("/video/submit", "/v1/videos", "/video/cancel"):
        async with talk(closed) as connection:
            head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
            await connection.say(head.encode())
            status, _ = await connection.answer()
            assert status == 401


async def test_refusals_have_the_form_of_the_path(closed: Edge, link: Bus, client: aiohttp.ClientSession) -> None:
    reader = await holder(link, "acme", "read")
    await known(client, closed.url, reader)
    async with client.get(f"{closed.url}/video/status/{'0' * 32}") as answer:
        assert (await answer.json())["error"] == "UNAUTHORIZED"
    async with client.get(f"{closed.url}/v1/videos") as answer:
        error = (await answer.json())["error"]
        assert (error["type"], error["code"]) == ("authentication_error", "invalid_api_key")
        assert answer.headers["x-should-retry"] == "false"
    async with client.post(f"{closed.url}/v1/videos", json={}, headers=reader) as answer:
        error = (await answer.json())["error"]
        assert (answer.status, error["type"], "submit" in error["message"]) == (403, "permission_error", True)


async def test_the_limit_of_a_minute_is_its_tenants_own(
    edges: Callable[..., Edge], link: Bus, client: aiohttp.ClientSession
) -> None:
    edge = edges(AUTH="keys", TENANT_SUBMISSIONS_A_MINUTE="2")
    await edge.ready(client)
    await limit(link, "free", {"submissions_a_minute": 0})
    acme, other, free = [await holder(link, tenant) for tenant in ("acme", "other", "free")]
    await known(client, edge.url, free)

    async def statuses(who: Headers, count: int, path: str = "/video/submit") -> list[int]:
        found = list[int]()
        for _ in range(count):
            async with client.post(edge.url + path, json={}, headers=who) as answer:
                found.append(answer.status)
        return found

    assert await statuses(acme, 3) == [400, 400, 429]
    assert await statuses(acme, 1, "/video/cancel") == [400], "nothing but submissions counts"
    assert await statuses(free, 9) == [400] * 9
    assert await statuses(other, 1) == [400]
    for path in ("/video/submit", "/v1/videos", f"/v1/videos/video_{'0' * 32}/remix"):
        async with client.post(edge.url + path, json={}, headers=acme) as answer:
            body = await answer.json()
            if "remix" in path:
                assert answer.status == 404, "a job that is not there comes first"
                continue
            assert answer.status == 429 and int(answer.headers["Retry-After"]) >= 1
            assert answer.headers["RateLimit-Policy"] == '"submissions";q=2;w=60'
            assert answer.headers["RateLimit"].startswith('"submissions";r=0;t=')
            assert "2 submissions a minute" in str(body)


async def test_without_keys_addresses_have_the_limit_which_trusted_proxies_tell(
    edges: Callable[..., Edge], link: Bus, client: aiohttp.ClientSession
) -> None:
    edge = edges(AUTH="off", ADDRESS_SUBMISSIONS_A_MINUTE="1", TRUSTED_PROXIES="127.0.0.0/8")
    await edge.ready(client)

    async def submitted(forwarded: str) -> int:
        headers = {"X-Forwarded-For": forwarded}
        async with client.post(f"{edge.url}/video/submit", json={}, headers=headers) as answer:
            return answer.status

    assert [await submitted("192.0.2.1"), await submitted("192.0.2.1"), await submitted("192.0.2.2")] == [400, 429, 400]
    assert await submitted("6.6.6.6, 192.0.2.1") == 429, "what the client says itself does not count"
    clients = {line["client"] for line in await edge.logged(client) if line.get("path") == "/video/submit"}
    assert clients == {"192.0.2.1", "192.0.2.2"}


async def test_nobody_is_asked_for_a_key_without_the_setting_and_the_edge_says_which(
    edges: Callable[..., Edge], link: Bus, client: aiohttp.ClientSession
) -> None:
    edge, closed = edges(AUTH="off"), edges(AUTH="keys")
    for each, setting in ((edge, "off"), (closed, "keys")):
        await each.ready(client)
        async with client.get(f"{each.url}/health") as answer:
            assert (await answer.json())["auth"] == setting
        assert [line["auth"] for line in each.lines if line["event"] == "edge_starts"] == [setting]
    assert await status_of(client, edge, {"Authorization": "Bearer none"}) == 200
    assert await status_of(client, edge, {}, "/video/events") == 403


async def test_pages_of_allowed_origins_may_show_keys(
    edges: Callable[..., Edge], link: Bus, client: aiohttp.ClientSession
) -> None:
    edge = edges(AUTH="keys", ALLOWED_ORIGINS="https://app.example.org")
    await edge.ready(client)
    asking = {"Origin": "https://app.example.org", "Access-Control-Request-Method": "POST"}
    async with client.options(f"{edge.url}/video/submit", headers=asking) as answer:
        assert answer.status == 204 and "Authorization" in answer.headers["Access-Control-Allow-Headers"]
    async with client.get(f"{edge.url}/v1/models", headers={"Origin": asking["Origin"]}) as answer:
        assert answer.status == 401
        assert answer.headers["Access-Control-Allow-Origin"] == asking["Origin"]


def test_only_one_bearer_of_the_right_form_counts() -> None:
    table, (key_id, secret) = KeyTable(), api_key.new_key()
    entry = api_key.ApiKey(
        id=key_id, name="n", tenant="acme", scopes=("read",), secret_sha256=api_key.sha256_of(secret), created_at=0.0
    )
    table.note(subjects.key_entry(key_id), api_key.encode_entry(entry))
    text = api_key.text_of(key_id, secret).encode()
    for good in (b"Bearer " + text, b"bearer " + text, b"BEARER   " + text + b" "):
        assert table.caller([good], 1.0).key_id == key_id
    for bad in (
        [], [text], [b"Bearer"], [b"Bearer " + text] * 2, [b"Bearer " + text, b"x"], [b"Bearer " + text + b"\xff"],
        [b"Bearer " + b"\xff" * 51], [b"Bearer " + text + b" " * 200], [b"Basic " + text], [b"Bearer\t" + text],
    ):  # fmt: skip
        with pytest.raises(BadKey):
            table.caller(bad, 1.0)


@pytest.mark.slow
def test_a_wrong_key_takes_as_long_as_a_right_one() -> None:
    """Medians of interleaved calls; the least of several rounds, since the machine has other work too."""
    table, good = KeyTable(), list[tuple[str, str]]()
    for _ in range(100):
        key_id, secret = api_key.new_key()
        good.append((key_id, secret))
        digest = api_key.sha256_of(secret)
        entry = api_key.ApiKey(
            id=key_id, name="n", tenant="acme", scopes=("read",), secret_sha256=digest, created_at=0.0
        )
        table.note(subjects.key_entry(key_id), api_key.encode_entry(entry))
    kinds = {
        "right": [api_key.text_of(*each) for each in good],
        "wrong": [api_key.text_of(key_id, api_key.new_key()[1]) for key_id, _ in good],
        "nearly right": [api_key.text_of(key_id, secret[:-1] + "0") for key_id, secret in good],
        "unknown": [api_key.text_of(*api_key.new_key()) for _ in good],
    }

    def medians() -> dict[str, float]:
        times: dict[str, list[float]] = {kind: [] for kind in kinds}
        for at in range(2000):
            for kind, texts in kinds.items():
                header = [b"Bearer " + texts[at % len(texts)].encode()]
                began = time.perf_counter()
                with suppress(BadKey):
                    table.caller(header, 1.0)
                times[kind].append(time.perf_counter() - began)
        return {kind: statistics.median(each) for kind, each in times.items()}

    def spread() -> float:
        found = medians()
        return max(found.values()) / min(found.values())

    assert min(spread() for _ in range(5)) < 1.5


async def test_refusals_over_http_take_alike(closed: Edge, link: Bus, client: aiohttp.ClientSession) -> None:
    bad, last = await bad_holders(link, "acme"), await holder(link, "acme")
    await known(client, closed.url, last)
    times: dict[str, list[float]] = {kind: [] for kind in bad}
    for _ in range(60):
        for kind, each in bad.items():
            began = time.perf_counter()
            assert await status_of(client, closed, each) == 401
            times[kind].append(time.perf_counter() - began)
    fastest: Any = {kind: min(each) for kind, each in times.items() if kind != "no key"}
    assert math.isfinite(sum(fastest.values()))
    assert max(fastest.values()) < 2 * min(fastest.values()), fastest
