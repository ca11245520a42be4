import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from contracts import subjects
from contracts.broker import Bus
from ops import provision
from tests.kit.broker import Broker, provision_settings
from tests.kit.edge import Edge, submit
from tests.kit.process import Process
from tests.kit.waiting import eventually

JOBS = 200
AT_ONCE = 8
CAUGHT_UP_WITHIN_S = 2.0


@asynccontextmanager
async def state(broker: Broker, folder: Path) -> AsyncGenerator[Process, None]:
    process = Process(["-m", "services.state"], folder / "state.log", **broker.environment).start()
    try:
        await eventually(lambda: "state_ready" in process.text)
        yield process
    finally:
        await asyncio.to_thread(process.stop)


async def submit_and_ask(client: aiohttp.ClientSession, edge: Edge, jobs: int) -> list[int]:
    """The statuses' HTTP codes, each asked for straight after its 202."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def one() -> int:
        async with turns:
            code, body = await submit(client, edge)
            assert code == 202, body
            async with client.get(f"{edge.url}/video/status/{body['requestId']}") as answer:
                assert (await answer.json()).get("status") == "InQueue", await answer.text()
                return answer.status

    return await asyncio.gather(*(one() for _ in range(jobs)))


async def test_a_status_straight_after_the_202_is_never_a_404_with_state_running_or_stopped(
    client: aiohttp.ClientSession, edge: Edge, broker: Broker, link: Bus, tmp_path: Path
) -> None:
    await provision.provision(link, provision_settings(broker, max_concurrent_tasks=250))
    async with state(broker, tmp_path):
        assert set(await submit_and_ask(client, edge, JOBS // 2)) == {200}
    assert set(await submit_and_ask(client, edge, JOBS // 2)) == {200}

    async def lag() -> int:
        return (await link.consumer(subjects.EVENTS_STREAM, subjects.STATE_DURABLE)).num_pending or 0

    assert await lag() == JOBS // 2
    async with state(broker, tmp_path):
        began = time.monotonic()

        async def caught_up() -> bool:
            return await lag() == 0

        await eventually(caught_up, within_s=CAUGHT_UP_WITHIN_S)
        took_s = time.monotonic() - began
    bucket: Any = await link.stream(subjects.bucket_stream(subjects.STATUS_BUCKET))
    assert bucket.state.messages == JOBS
    assert took_s < CAUGHT_UP_WITHIN_S
