import time

import pytest

from contracts import subjects, wire
from contracts.broker import Bus
from contracts.status import JobStatus
from ops.replay import Replayed, Stuck, replay
from tests.kit.broker import Broker
from tests.kit.builders import ID, started, step, submitted, succeeded
from tests.kit.process import completed
from tests.kit.waiting import eventually
from tests.ops.test_events import publish
from tests.services.state.test_materialise import state, status

NOW = time.time()
LOG = [submitted(NOW), started(1, NOW), *(step(1, NOW + n, n, n / 25) for n in range(1, 21)), succeeded(1, NOW + 30)]


async def ended(link: Bus) -> bool:
    found = await status(link)
    return found is not None and found.ended


async def test_every_status_comes_back_from_the_log_as_it_was(link: Bus) -> None:
    async with state(link, retention_s=1000):
        await publish(link, *LOG)
        await eventually(lambda: ended(link))
        before = await status(link)
        assert await replay(link) == Replayed(events=len(LOG), statuses=1)
        assert await status(link) == before


async def test_a_status_that_was_wrong_is_right_afterwards(link: Bus) -> None:
    async with state(link, retention_s=1000):
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


def test_a_broker_that_is_not_provisioned_is_named(broker: Broker) -> None:
    done = completed("-m", "ops.replay", within_s=30, **broker.environment)
    assert (done.returncode, done.stderr) == (1, "this broker is not provisioned: there is nothing to replay\n")
