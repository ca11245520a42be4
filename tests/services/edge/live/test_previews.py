"""Previews reach those who follow a job and keep up, and nobody else."""

import asyncio

import aiohttp

from contracts import subjects, wire
from contracts.broker import Bus
from contracts.preview import WEBP_URL, Preview
from tests.kit.broker import Broker
from tests.kit.builders import ID
from tests.kit.edge import Edge, submit
from tests.services.edge.live.streams import HEARD_WITHIN_S, following, hub_at

OTHER = "f" * 32


def preview(job_id: str, step: int) -> bytes:
    made = Preview(job_id=job_id, at=1.0, attempt=1, step=step, steps=20, width=64, height=36, image=f"{WEBP_URL}AAAA")
    return wire.encode(made)


async def test_a_preview_reaches_who_follows_the_job_and_no_place_in_the_log(
    client: aiohttp.ClientSession, edge: Edge, link: Bus
) -> None:
    job_id = (await submit(client, edge))[1]["requestId"]
    async with following(client, edge, job_id) as stream:
        assert (await stream.event()).event == "submitted"
        sending = asyncio.create_task(send_until_cancelled(link, job_id))
        try:
            shown = await asyncio.wait_for(stream.event(), HEARD_WITHIN_S)
        finally:
            sending.cancel()
    assert (shown.event, shown.id) == ("preview", None)
    assert (shown.data["requestId"], shown.data["image"]) == (job_id, f"{WEBP_URL}AAAA")
    assert await link.read(subjects.EVENTS_STREAM, subjects.previews_of(job_id)) == []


async def send_until_cancelled(link: Bus, job_id: str) -> None:
    """Publish previews, and beside each what the edge must drop: damaged ones, and ones of another job."""
    for step in range(1, 10_000):
        for payload in (b"{}", b"\xff", preview(OTHER, step), preview(job_id, step)):
            await link.publish_unstored(subjects.previews_of(job_id), payload)
        await asyncio.sleep(0.05)


async def test_who_is_behind_or_waits_for_a_status_gets_none(broker: Broker, link: Bus) -> None:
    async with (
        hub_at(broker.url) as hub,
        hub.joined(ID) as slow,
        hub.joined(ID) as prompt,
        hub.joined(ID, hears_moves=True) as polling,
    ):
        sending = asyncio.create_task(send_until_cancelled(link, ID))
        try:
            for _ in range(3):
                taken = await prompt.take(within_s=HEARD_WITHIN_S)
                assert [event.kind for event in taken] == ["preview"]
        finally:
            sending.cancel()
        assert len(await slow.take(within_s=0)) == 1, "the first one is kept, and nothing is queued behind it"
        assert not slow.fell_behind
        assert await polling.take(within_s=0) == []
