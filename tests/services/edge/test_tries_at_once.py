"""Several tries of one request at once, as of a client that has given up waiting: all of them are one job.

A try may be refused because another one was accepted, which took the last place, or the picture that is given once.
"""

import asyncio
import base64
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web

from contracts.broker import Bus
from contracts.cluster import Objection
from contracts.job import JobRequest
from contracts.stores import Folder
from contracts.tenant import Tenant
from services.edge.body.idempotency import Identity
from services.edge.errors import Busy, Invalid, KeyReused, Overloaded, TenantBusy
from services.edge.jobs import Jobs
from services.edge.submit import Receipt, unless_repeat
from tests.kit.builders import ID
from tests.kit.edge import PROMPT, Edge, picture
from tests.kit.machine import free_port
from tests.kit.waiting import eventually

PNG = base64.b64decode(picture().split(",")[1])
KEY = {"Idempotency-Key": "tries-1"}
REQUEST = JobRequest(prompt="a small boat at sea", image_url="x")


async def test_a_try_whose_picture_is_not_given_twice_is_the_job_of_the_first_try(
    client: aiohttp.ClientSession, edges: Callable[..., Edge], link: Bus
) -> None:
    go = [asyncio.Event(), asyncio.Event()]
    asked: list[asyncio.Event] = []

    async def give_once(_: web.Request) -> web.Response:
        mine = go[len(asked)]
        asked.append(mine)
        await mine.wait()
        return web.Response(body=PNG) if mine is go[0] else web.Response(status=403)

    host = web.Application()
    host.router.add_get("/once.png", give_once)
    runner, port = web.AppRunner(host), free_port()
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    edge = edges(OUTBOUND_ALLOWED_NETWORKS="127.0.0.0/8", OUTBOUND_ALLOWED_PORTS=str(port))
    await edge.ready(client)
    body = {"prompt": PROMPT, "image_url": f"http://127.0.0.1:{port}/once.png"}

    async def one() -> tuple[int, Any, str | None]:
        async with client.post(f"{edge.url}/video/submit", json=body, headers=KEY) as answer:
            return answer.status, await answer.json(), answer.headers.get("Idempotent-Replayed")

    try:
        tries = [asyncio.create_task(one()) for _ in go]
        await eventually(lambda: len(asked) == len(go), within_s=10)
        go[0].set()
        first, _ = await asyncio.wait(tries, return_when=asyncio.FIRST_COMPLETED)
        go[1].set()
        answers = await asyncio.gather(*tries)
    finally:
        for each in go:
            each.set()
        await runner.cleanup()
    assert len(first) == 1
    assert {code for code, _, _ in answers} == {202}
    assert len({said["requestId"] for _, said, _ in answers}) == 1
    assert sorted(str(replayed) for _, _, replayed in answers) == ["None", "true"]


@pytest.fixture
def jobs(link: Bus, tmp_path: Path) -> Jobs:
    return Jobs(link, Folder(tmp_path / "videos"), Folder(tmp_path / "scratch"), retention_s=60)


REFUSALS = [Busy(1, 1, 5), TenantBusy(1, 1, 5), Overloaded(), Invalid([Objection("image_size", "no cluster makes it")])]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: type(refusal).__name__)
async def test_a_refusal_counts_only_if_no_other_try_has_been_accepted(jobs: Jobs, refusal: Exception) -> None:
    identity, edge = Identity(ID, "f" * 64), cast("Any", SimpleNamespace(jobs=jobs))

    async def refused() -> Receipt:
        raise refusal

    async def refused_after_another() -> Receipt:
        await jobs.store_input_and_enqueue(REQUEST, PNG, identity, Tenant("default", None), remixed_from=None)
        raise refusal

    with pytest.raises(type(refusal)):
        await unless_repeat(edge, identity, refused)
    assert await unless_repeat(edge, identity, refused_after_another) == Receipt(ID, is_replay=True)
    with pytest.raises(KeyReused):
        await unless_repeat(edge, Identity(ID, "0" * 64), refused)
