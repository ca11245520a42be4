"""/health, /metrics and what state serves to Prometheus against the broker's own numbers, with 0, 1 and 2 clusters."""

import asyncio
from typing import Any

import aiohttp

from contracts import subjects
from contracts.broker import Bus
from tests.kit.edge import post
from tests.kit.road import LONG, RANKS, Road
from tests.kit.scrape import scrape
from tests.kit.waiting import eventually


async def seen(road: Road, client: aiohttp.ClientSession, link: Bus) -> dict[str, Any]:
    """The same number from three answers and from the broker, each time it agrees; waits while they move."""

    async def agree() -> dict[str, Any] | None:
        before = (await link.stream(subjects.JOBS_STREAM)).state
        async with client.get(f"{road.edge.url}/health") as answer:
            health = await answer.json()
        async with client.get(f"{road.edge.url}/metrics") as answer:
            metrics = await answer.json()
        text = await scrape(client, road.metrics_port)
        after = (await link.stream(subjects.JOBS_STREAM)).state
        if (before.messages, before.last_seq) != (after.messages, after.last_seq) or text is None:
            return None
        if not text.has("wanjet_jobs_unfinished"):
            return None
        working = sum(cluster["jobs_running"] for cluster in health["clusters"])
        numbers = {
            "unfinished": {health["resources"]["concurrent_tasks"], metrics["resources"]["concurrent_tasks"],
                           text.value("wanjet_jobs_unfinished"), after.messages},
            "accepted": {health["service"]["total_tasks"], metrics["service"]["total_tasks"],
                         text.value("wanjet_jobs_accepted_total"), after.last_seq},
            "ranks": {health["world_size"], metrics["system"]["world_size"], text.value("wanjet_ranks")},
            "running": {working, text.value("wanjet_jobs_running")},
        }  # fmt: skip
        if any(len(found) > 1 for found in numbers.values()):
            return None
        return {**{name: found.pop() for name, found in numbers.items()}, "status": health["status"]}

    numbers = await eventually(agree, within_s=30)
    assert numbers is not None
    return numbers


async def test_health_and_metrics_agree_with_the_broker_while_jobs_wait_run_and_end_on_0_1_and_2_clusters(
    road: Road, client: aiohttp.ClientSession, link: Bus
) -> None:
    async def become(**expected: Any) -> None:
        async def is_so() -> bool:
            numbers = await seen(road, client, link)
            return all(numbers[name] == value for name, value in expected.items())

        await eventually(is_so, within_s=40)

    await asyncio.to_thread(road.cluster.stop)
    await become(ranks=0, running=0, status="degraded")
    before = (await seen(road, client, link))["accepted"]
    ids = [await road.submit(client, **{**LONG, "image_size": "256*144"}) for _ in range(2)]
    await become(unfinished=2, accepted=before + 2, running=0)
    await road.replace_cluster()
    await become(ranks=RANKS, running=1, unfinished=2, status="healthy")
    second = road.new_cluster(CLUSTER_NAME="second")
    road.start(second)
    try:
        await become(ranks=2 * RANKS, running=2)
        for job_id in ids:
            await post(client, f"{road.edge.url}/video/cancel", {"requestId": job_id})
        await become(unfinished=0, running=0, accepted=before + 2)
    finally:
        await asyncio.to_thread(second.stop)
    await become(ranks=RANKS, status="healthy")
