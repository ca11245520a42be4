"""Every route of the document and of the app, and every live stream, with every kind of key: nothing may leak.

`just access` prints the table. A new route is in it by itself.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import aiohttp
import pytest

from contracts.broker import Bus
from contracts.video_files import VARIANTS, picture_name
from services.edge.app import ROUTERS
from services.edge.auth.rights import is_open
from services.edge.docs.openapi import document
from tests.kit.auth import known
from tests.kit.edge import PROMPT, Edge, picture
from tests.services.edge.auth.holders import bad_holders, holder
from tests.services.edge.docs.test_openapi import documented_path
from tests.services.edge.test_webhooks import switch_on
from tests.services.edge.v1.asking import end

NOBODYS = "e" * 32
STREAMS = "/video/ws/{id}"
UPGRADE = "WebSocket"
"""Stands for the method of a request that asks for a WebSocket."""
REFUSED = 401
WITH_ID_IN_BODY = ("/video/status", "/video/cancel")
VARYING = ("x-request-id", "date")
OPEN = {
    "/", "/livez", "/readyz", "/health", "/metrics", "/docs", "/docs/events", "/docs/events.json",
    "/docs/openapi.json", "/openapi.json",
    "/docs/{name}",
}  # fmt: skip
"""Written out here, so that a path is not opened by a slip."""


class Route(NamedTuple):
    method: str
    path: str

    @property
    def names_a_job(self) -> bool:
        return "{id}" in self.path or (self.method == "POST" and self.path in WITH_ID_IN_BODY)

    @property
    def asks_for_files(self) -> bool:
        return self.path in ("/videos/{id}.mp4", "/v1/videos/{id}/content", "/video/webhooks/{id}")

    @property
    def reads(self) -> bool:
        return self.method in ("GET", "HEAD", "OPTIONS", UPGRADE) or self.path == "/video/status"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


def routes() -> list[Route]:
    """Return every route that the document has or the app serves, and the WebSocket."""
    documented = {(method.upper(), path) for path, item in document()["paths"].items() for method in item}
    served = {
        (method, documented_path(route.path_format))
        for router in ROUTERS
        for route in router.routes
        for method in route.methods  # pyright: ignore[reportAttributeAccessIssue]
    }
    heads = {("HEAD", path) for method, path in documented | served if method == "GET"}
    return sorted(Route(*each) for each in documented | served | heads | {(UPGRADE, STREAMS)})


def test_the_open_paths_are_these() -> None:
    assert {route.path for route in routes() if is_open(route.method, route.path)} == OPEN
    assert len({route.path for route in routes()} - OPEN) >= 13


async def ask(client: aiohttp.ClientSession, edge: Edge, route: Route, job_id: str, shown: dict[str, str]) -> Answer:
    """Send the request that a route is for, about a job; of a stream the head alone is read."""
    video_id = f"video_{job_id}" if route.path.startswith("/v1") else job_id
    path = route.path.replace("{id}", video_id).replace("{model}", "wan").replace("{name}", "page.js")
    if route.method == UPGRADE:
        return await ask_for_socket(client, edge.url + path, shown)
    body = None
    if route.method == "POST":
        asked = route.path in WITH_ID_IN_BODY
        body = {"requestId": job_id} if asked else {"prompt": "other words"} if "remix" in path else {"x": 1}
    async with client.request(route.method, edge.url + path, headers=shown, json=body, allow_redirects=False) as answer:
        is_stream = answer.content_type == "text/event-stream" and route.method == "GET"
        content = b"" if is_stream else await answer.read()
        if is_stream:
            answer.close()
        return Answer(answer.status, plain(answer.headers), content)


async def ask_for_socket(client: aiohttp.ClientSession, url: str, shown: dict[str, str]) -> Answer:
    try:
        async with client.ws_connect(url, headers=shown):
            return Answer(101, {}, b"")
    except aiohttp.WSServerHandshakeError as refused:
        return Answer(refused.status, plain(refused.headers or {}), b"")


def plain(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items() if name.lower() not in VARYING}


async def submitted(client: aiohttp.ClientSession, edge: Edge, shown: dict[str, str], **fields: Any) -> str:
    body = {"prompt": PROMPT, "image_url": picture(), "num_frames": 25, "infer_steps": 20, **fields}
    async with client.post(f"{edge.url}/video/submit", json=body, headers=shown) as answer:
        assert answer.status == 202, await answer.text()
        return (await answer.json())["requestId"]


async def finished_job(client: aiohttp.ClientSession, edge: Edge, link: Bus, shown: dict[str, str]) -> str:
    """Return a job of a holder's with a video, pictures of it, and a webhook."""
    await switch_on(link)
    job_id = await submitted(client, edge, shown, webhook_url="https://hooks.example.org/done")
    await end(link, edge, {"id": f"video_{job_id}"})
    for variant in VARIANTS:
        (edge.videos / picture_name(job_id, variant)).write_bytes(bytes(100))
    return job_id


class Table(list[tuple[str, ...]]):
    """The statuses that each route has answered, a row for each route."""

    def print(self, head: list[str]) -> None:
        rows = [("route", *head), *self]
        widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))  # noqa: T201  # for `just access`


@pytest.mark.timeout(240)
async def test_no_route_lets_anybody_in_without_a_good_key(
    edges: Callable[..., Edge], link: Bus, client: aiohttp.ClientSession
) -> None:
    edge = edges(AUTH="keys")
    await edge.ready(client)
    bad = await bad_holders(link, "acme")
    only = {True: await holder(link, "acme", "submit"), False: await holder(link, "acme", "read")}
    owner, other, admin = [await holder(link, "acme"), await holder(link, "other"), await holder(link, "root", "admin")]
    await known(client, edge.url, admin)
    waiting, finished = await submitted(client, edge, owner), await finished_job(client, edge, link, owner)
    table, leaks = Table(), list[str]()
    head = [*bad, "no scope", "other's", "owner", "admin"]

    def expect(route: Route, kind: str, ok: bool, answer: Answer) -> None:
        if not ok:
            leaks.append(f"{route.method} {route.path} with {kind}: {answer}")

    for route in sorted(routes(), key=lambda route: (not route.reads, route)):
        is_free = is_open(route.method, route.path)
        job_id = finished if route.asks_for_files else waiting
        answers = {kind: await ask(client, edge, route, job_id, shown) for kind, shown in bad.items()}
        for kind, answer in answers.items():
            expect(route, kind, is_free == (answer.status != REFUSED), answer)
            same = answer == answers["no key"] and answer.headers.get("www-authenticate") == "Bearer"
            expect(route, kind, is_free or same, answer)
        answers["no scope"] = await ask(client, edge, route, job_id, only[route.reads])
        expect(route, "no scope", is_free or answers["no scope"].status == 403, answers["no scope"])
        answers["other's"] = found = await ask(client, edge, route, job_id, other)
        if route.names_a_job:
            nobodys = await ask(client, edge, route, NOBODYS, other)
            expect(route, "other's", found.status == 404 and found == nobodys, found)
        expect(route, "other's", job_id.encode() not in found.body and found.status != REFUSED, found)
        if route.reads:
            answers["owner"] = await ask(client, edge, route, job_id, owner)
            answers["admin"] = await ask(client, edge, route, job_id, admin)
            for kind in ("owner", "admin"):
                expect(route, kind, answers[kind].status not in (401, 403, 404) or "model" in route.path, answers[kind])
            expect(route, "admin", answers["owner"].status == answers["admin"].status, answers["admin"])
        statuses = [str(answers[kind].status) if kind in answers else "-" for kind in head]
        table.append((f"{route.method} {route.path}", *statuses))
    table.print(head)
    assert leaks == []
    status = await ask(client, edge, Route("POST", "/video/status"), waiting, owner)
    assert status.status == 200 and b'"InQueue"' in status.body, "no refused request has changed the job"
    await changes_by_owner_and_admin(client, edge, waiting, owner, admin)


async def changes_by_owner_and_admin(
    client: aiohttp.ClientSession, edge: Edge, job_id: str, owner: dict[str, str], admin: dict[str, str]
) -> None:
    cancel, delete = Route("POST", "/video/cancel"), Route("DELETE", "/v1/videos/{id}")
    assert (await ask(client, edge, cancel, job_id, owner)).status == 200
    assert (await ask(client, edge, delete, job_id, admin)).status == 200
    assert (await ask(client, edge, Route("GET", "/video/status/{id}"), job_id, owner)).status == 404


@pytest.mark.parametrize("variant", VARIANTS)
async def test_pictures_and_parts_of_a_video_are_the_tenants_own(
    edges: Callable[..., Edge], link: Bus, client: aiohttp.ClientSession, variant: str
) -> None:
    edge = edges(AUTH="keys")
    await edge.ready(client)
    owner, other = await holder(link, "acme"), await holder(link, "other")
    await known(client, edge.url, other)
    job_id = await finished_job(client, edge, link, owner)
    part = {"Range": "bytes=0-9"}
    for path, more, expected in (
        (f"/v1/videos/video_{job_id}/content?variant={variant}", {}, 200),
        (f"/videos/{job_id}.mp4", part, 206),
        (f"/video/status/{job_id}?wait=1", {}, 200),
    ):
        for shown, status in ((owner, expected), (other, 404), ({}, 401)):
            async with client.get(edge.url + path, headers={**shown, **more}) as answer:
                assert answer.status == status, path
