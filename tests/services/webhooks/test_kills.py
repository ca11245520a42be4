"""The service is killed at every point of a delivery: each ending arrives at least once, and the record is right."""

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from contracts.broker import Bus
from ops.streams import consumers
from tests.kit.broker import Broker, provision_settings
from tests.kit.waiting import eventually
from tests.services.webhooks.dying import POINTS
from tests.services.webhooks.jobs import Service, nothing_left, over, submit_and_end
from tests.services.webhooks.targets import Loopback, says, status

ACK_WAIT_S = 1
SCALE = "0.02"
POSTED_TWICE = {"POST answered, try not recorded", "second try's POST answered, not recorded"}
"""The points at which a kill costs a repeated request: at least once, and not exactly once."""


@pytest.mark.timeout(240)
async def test_killed_at_any_point_every_ending_arrives_at_least_once(
    link: Bus, broker: Broker, web: Loopback, tmp_path: Path
) -> None:
    """Make one delivery for each point, which fails first and succeeds then, so that the retry is killed too."""
    for stream, config in consumers(provision_settings(broker)):
        if (config.durable_name or "").startswith("webhooks"):
            await link.admin.add_consumer(stream, config.evolve(ack_wait=ACK_WAIT_S))
    rows: list[str] = []
    for number, point in enumerate(POINTS):
        target = await web.target(says(status(500), status(204)))
        job = await submit_and_end(link, number, target.url)
        variables = {**web.environment, "WEBHOOK_PAUSES_SCALE": SCALE}
        dying = Service(
            broker, tmp_path / f"dying-{number}.log", module="tests.services.webhooks.dying", DIE_AT=point, **variables
        )
        assert await asyncio.to_thread(dying.run, 30) == -signal.SIGKILL, (point, dying.text)
        service = Service(broker, tmp_path / f"service-{number}.log", **variables)
        service.start()
        try:
            found = await over(link, job, within_s=30)
            await eventually(lambda: nothing_left(link))
        finally:
            assert service.stop() == 0, service.text
        requests = target.of(job)
        rows.append(f"| {point} | {len(requests)} | {len(found.tries)} | {found.state} |")
        assert found.state == "delivered"
        assert len({request.headers["webhook-id"] for request in requests}) == 1
        assert len(requests) == len(found.tries) + (point in POSTED_TWICE), rows[-1]
    head = "| killed when | requests | tries recorded | state |\n|---|---|---|---|"
    sys.stdout.write("\n".join(["", head, *rows, ""]))
