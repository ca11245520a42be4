"""A tenant follows its jobs in one stream with all others' on the broker: those delay it, and are never seen."""

import asyncio
from pathlib import Path

import aiohttp
from msgspec.structs import replace

from contracts.broker import Bus
from contracts.broker.streams import READ_BATCH
from contracts.events import JobSubmitted
from tests.kit import builders
from tests.kit.auth import known
from tests.kit.broker import Broker
from tests.services.edge.auth.holders import holder
from tests.services.edge.live.streams import REPLAYED_MAX, Lively, parsed, publish, steps

MINE, OTHERS = "a" * 32, "b" * 32
CONNECTIONS_MAX = 5
ONE_CONNECTION = REPLAYED_MAX + READ_BATCH
"""More events than one connection gets of the log, which is read by pages."""


def submission(job_id: str, tenant: str) -> JobSubmitted:
    return replace(builders.submitted(), job_id=job_id, tenant=tenant)


async def test_a_tenant_comes_past_more_events_of_others_than_one_connection_gets(
    client: aiohttp.ClientSession, tmp_path: Path, broker: Broker, link: Bus
) -> None:
    shown = await holder(link, "mine")
    await publish(link, [submission(OTHERS, "other"), *steps(OTHERS, 1, 2 * ONE_CONNECTION), submission(MINE, "mine")])
    edge = Lively(tmp_path, broker, AUTH="keys", SHOW_ALL_JOBS="0")
    edge.start()
    try:
        await edge.ready(client)
        await known(client, edge.url, shown)
        last, seen = "0", list[str]()
        for _ in range(CONNECTIONS_MAX):
            last = await one_connection(client, edge, {**shown, "Last-Event-ID": last}, last, seen)
        assert seen == ["submitted"]
        # Others' events that come while the stream is silent are passed, too.
        await publish(link, steps(OTHERS, 1000, 2))
        assert int(await one_connection(client, edge, {**shown, "Last-Event-ID": last}, last, seen)) > int(last)
    finally:
        assert edge.stop() == 0, edge.text


async def one_connection(
    client: aiohttp.ClientSession, edge: Lively, headers: dict[str, str], last: str, seen: list[str]
) -> str:
    """Follow all jobs as a browser does, up to the end of the stream or a sign of life; return the last id then."""
    async with client.get(f"{edge.url}/video/events", headers=headers) as answer, asyncio.timeout(20):
        while (read := await answer.content.readuntil(b"\n\n")).endswith(b"\n\n"):
            block = parsed(read)
            last = last if block.id is None else str(block.id)
            seen += [block.event] if block.event not in (None, "resync") else []
            if block.comment is not None:
                answer.close()
                break
    return last
