import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from contracts import subjects, wire
from contracts.broker import Bus
from contracts.stores import Folder
from ops import provision
from services.edge.errors import NotFound
from services.edge.jobs import Jobs
from tests.kit.broker import Broker, provision_settings
from tests.kit.edge import Edge, post, submit
from tests.kit.process import Process
from tests.kit.waiting import eventually

JOBS = 200
AT_ONCE = 8
CAUGHT_UP_WITHIN_S = 2.0
CAUGHT_UP_PUTS = 10
"""On a machine so busy that bare writes take long, state may take so many times as long as they do."""


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
    before_s = await bare_puts_s(link)
    async with state(broker, tmp_path):
        began = time.monotonic()

        async def caught_up() -> bool:
            return await lag() == 0

        await eventually(caught_up, within_s=30)
        took_s = time.monotonic() - began
    after_s = await bare_puts_s(link)
    bucket: Any = await link.stream(subjects.bucket_stream(subjects.STATUS_BUCKET))
    assert bucket.state.messages == JOBS
    assert took_s < max(CAUGHT_UP_WITHIN_S, CAUGHT_UP_PUTS * max(before_s, after_s)), (took_s, before_s, after_s)


async def bare_puts_s(link: Bus) -> float:
    """Return the seconds that as many bare writes take as state has to make: what the machine is capable of now."""
    began = time.monotonic()
    for _ in range(JOBS // 2):
        await link.put_last(subjects.WEBHOOKS_BUCKET, "yardstick", b"{}")
    return time.monotonic() - began


async def test_a_job_that_ends_while_it_is_looked_up_is_no_404(
    edge: Edge, client: aiohttp.ClientSession, link: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log has no copy yet when it is read, and the queue no job any more."""
    code, body = await submit(client, edge)
    assert code == 202
    job_id = body["requestId"]
    jobs = Jobs(link, Folder(edge.videos), Folder(edge.scratch), retention_s=60)
    real, calls = jobs.log.events, 0

    async def events(asked: str) -> list[wire.Logged]:
        nonlocal calls
        calls += 1
        if calls > 1:
            return await real(asked)
        assert (await post(client, f"{edge.url}/video/cancel", {"requestId": asked}))[0] == 200
        return []

    monkeypatch.setattr(jobs.log, "events", events)
    status = await jobs.status(job_id)
    assert (status.status, status.created_at is not None, calls) == ("Cancelled", True, 2)
    with pytest.raises(NotFound):
        await jobs.status("f" * 32)
