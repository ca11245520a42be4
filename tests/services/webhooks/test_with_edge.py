"""From a submission over HTTP to the POST of its ending, and back to what the edge says of it."""

import json
from collections.abc import Callable
from pathlib import Path

import aiohttp

from contracts.broker import Bus
from tests.kit import auth
from tests.kit.broker import Broker
from tests.kit.edge import Edge, post, submit
from tests.kit.waiting import eventually
from tests.services.webhooks.jobs import Service, over
from tests.services.webhooks.targets import Loopback, says, status


async def test_a_cancelled_job_is_posted_and_the_edge_says_what_was_answered(
    link: Bus, broker: Broker, web: Loopback, services: Callable[..., Service], tmp_path: Path
) -> None:
    target = await web.target(says(status(503), status(202)))
    edge = Edge(tmp_path, broker, **web.environment)
    edge.start()
    services(WEBHOOK_PAUSES_SCALE="0.1")
    try:
        async with auth.client_session(timeout=aiohttp.ClientTimeout(20)) as client:
            await edge.ready(client)

            async def accepted() -> str | None:
                """Return the job's id once the service has told that it is there."""
                code, body = await submit(client, edge, webhook_url=target.url, metadata={"order": "7"})
                return body["requestId"] if code == 202 else None

            job = await eventually(accepted)
            assert job is not None
            assert (await post(client, f"{edge.url}/video/cancel", {"requestId": job}))[0] == 200
            await over(link, job)
            async with client.get(f"{edge.url}/video/webhooks/{job}") as answer:
                told = await answer.json()
    finally:
        assert edge.stop() == 0, edge.text
    assert (told["state"], told["host"]) == ("delivered", "127.0.0.2")
    assert [(each["code"], each["failure"]) for each in told["tries"]] == [(503, "status"), (202, None)]
    body = json.loads(target.requests[-1].body)
    assert (body["type"], body["requestId"], body["metadata"]) == ("JobCancelled", job, {"order": "7"})
