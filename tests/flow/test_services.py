"""Edge, state and cluster as the nats CLI shows them: `nats service ls`, `info`, `stats`."""

import json
from collections.abc import AsyncGenerator
from typing import Any

import aiohttp
import nats.errors
import pytest

from contracts.broker import Bus, bus
from contracts.process.broker_settings import seed_file
from tests.kit.road import LONG, RANKS, Road
from tests.kit.waiting import eventually


@pytest.fixture
async def link(road: Road) -> AsyncGenerator[Bus, None]:
    """A connection as the operator, to whom alone the processes answer."""
    key = str(seed_file(road.broker.keys, "operator"))
    async with bus.connect(road.broker.address, name="operator", creds=key) as link:
        yield link


async def answer(link: Bus, subject: str) -> Any:
    try:
        message = await link._client.request(subject, b"", timeout=2)
    except (nats.errors.NoRespondersError, nats.errors.TimeoutError):
        return None
    return json.loads(message.data)


async def figures(link: Bus, service: str) -> Any:
    stats = await eventually(lambda: answer(link, f"$SRV.STATS.wanjet-{service}"))
    (endpoint,) = stats["endpoints"]
    return endpoint["data"]


async def test_edge_state_and_cluster_show_who_they_are_and_what_they_have_done(
    road: Road, client: aiohttp.ClientSession, link: Bus
) -> None:
    job_id = await road.submit(client)
    await road.ended(client, job_id)

    edge = await figures(link, "edge")
    assert edge["submit"]["requests"] >= 1
    assert edge["status"]["average_ms"] > 0
    assert (await figures(link, "state"))["events_folded"] > 0
    assert (await figures(link, "cluster"))["ended"]["JobSucceeded"] >= 1

    info = await answer(link, "$SRV.INFO.wanjet-cluster")
    about = info["metadata"]
    assert (about["model"], about["world_size"], about["device"]) == ("tiny", str(RANKS), "cpu")
    assert len(about["instance"]) == 32


async def test_a_cluster_shows_the_job_that_it_works_on(road: Road, client: aiohttp.ClientSession, link: Bus) -> None:
    job_id = await road.submit(client, **LONG)
    await road.at_step(client, job_id, 1)
    jobs = {job["job_id"]: job for job in (await figures(link, "cluster"))["jobs"]}
    assert (jobs[job_id]["attempt"], jobs[job_id]["stage"]) == (1, "denoise")
    assert 0 < jobs[job_id]["progress"] < 1
    async with client.post(f"{road.edge.url}/video/cancel", json={"requestId": job_id}) as cancelled:
        assert cancelled.status == 200
