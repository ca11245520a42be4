import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from contracts import subjects, wire
from contracts.bus import Bus
from contracts.status import JobStatus
from ops.replay import Replayed, Stuck, replay
from services.state.materialise import materialise
from tests.conftest import eventually
from tests.contracts.test_fold import ID, started, step, submitted, succeeded
from tests.ops.test_events import publish

NOW = time.time()
LOG = [submitted(NOW), started(1, NOW), *(step(1, NOW + n, n, n / 25) for n in range(1, 21)), succeeded(1, NOW + 30)]


@asynccontextmanager
async def state(link: Bus) -> AsyncGenerator[None, None]:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(materialise(link, retention_s=1000, stop=stop))
        yield
        stop.set()


async def status(link: Bus) -> JobStatus | None:
    found = await link.get(subjects.STATUS_BUCKET, ID)
    return None if found is None else wire.decode_status(found.data)


async def ended(link: Bus) -> bool:
    found = await status(link)
    return found is not None and found.ended


async def test_every_status_comes_back_from_the_log_as_it_was(link: Bus) -> None:
    async with state(link):
        await publish(link, *LOG)
        await eventually(lambda: ended(link))
        before = await status(link)
        assert await replay(link) == Replayed(events=len(LOG), statuses=1)
        assert await status(link) == before


async def test_a_status_that_was_wrong_is_right_afterwards(link: Bus) -> None:
    async with state(link):
        await publish(link, *LOG)
        await eventually(lambda: ended(link))
        await link.put_last(subjects.STATUS_BUCKET, ID, wire.encode(JobStatus(job_id=ID, status="Failed")))
        await replay(link)
        found = await status(link)
        assert found is not None and found.status == "Succeed"


async def test_an_empty_log_is_replayed_at_once(link: Bus) -> None:
    assert await replay(link) == Replayed(events=0, statuses=0)


async def test_it_says_when_no_state_service_runs(link: Bus) -> None:
    await publish(link, *LOG)
    with pytest.raises(Stuck, match=f"{len(LOG)} events wait and nothing moved for 0.5 s: no state service runs"):
        await replay(link, still_within_s=0.5)
