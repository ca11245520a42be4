import asyncio
import io
from collections.abc import Iterable
from datetime import UTC, datetime

import pytest

import ops.replay
from contracts import subjects, wire
from contracts.broker import Bus, Delivery
from contracts.fold import fold_all
from contracts.process import lifetime
from contracts.status import JobStatus
from ops.replay import Replayed, Stuck, replay
from tests.kit.broker import Broker
from tests.kit.builders import ID, started, step, submitted, succeeded
from tests.kit.process import completed
from tests.kit.waiting import eventually
from tests.ops.test_events import publish
from tests.services.state.test_materialise import NOW, state, status

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


async def test_a_replay_that_moves_may_take_longer_than_one_that_stands_still(link: Bus) -> None:
    """Each event is folded after a third of the time that a replay may stand still, and the log grows meanwhile."""
    still_within_s = 3.0
    stop = asyncio.Event()

    async def fold_slowly() -> int:
        folded = 0
        while not stop.is_set():
            delivery = await link.pull(subjects.EVENTS_STREAM, subjects.STATE_DURABLE, stop=stop)
            if delivery is not None:
                await lifetime.wait_until_set(stop, within_s=still_within_s / 3)
                await link.acknowledge_all([delivery])
                await publish(link, step(1, NOW + 100 + folded, 20, 0.9))
                folded += 1
        return folded

    await publish(link, *LOG[:4])
    async with asyncio.TaskGroup() as tasks:
        folding = tasks.create_task(fold_slowly())
        await replay(link, still_within_s=still_within_s)
        stop.set()
    assert folding.result() >= 4


async def test_a_log_that_grows_while_nobody_folds_it_is_no_progress(link: Bus) -> None:
    await publish(link, *LOG)
    stop = asyncio.Event()

    async def grow() -> None:
        while not stop.is_set():
            await publish(link, step(1, NOW, 1, 0.1))
            await lifetime.wait_until_set(stop, within_s=0.05)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(grow())
        with pytest.raises(Stuck, match=r"nothing moved for 0\.5 s"):
            await replay(link, still_within_s=0.5)
        stop.set()


async def test_a_replay_waits_for_the_batch_that_is_in_hand(link: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its late acknowledgements would count for the events that are delivered anew."""
    acknowledge_all, held, go_on = Bus.acknowledge_all, asyncio.Event(), asyncio.Event()

    async def late(self: Bus, deliveries: Iterable[Delivery]) -> None:
        held.set()
        await go_on.wait()
        await acknowledge_all(self, deliveries)

    monkeypatch.setattr(Bus, "acknowledge_all", late)
    await publish(link, *LOG)
    async with state(link, retention_s=1000), asyncio.TaskGroup() as tasks:
        await held.wait()
        before = await status(link)
        replaying = tasks.create_task(replay(link))
        await eventually(lambda: paused(link))
        assert before is not None and await status(link) == before
        go_on.set()
        assert (await replaying).statuses == 1
        assert await status(link) == fold_all(LOG)


async def paused(link: Bus) -> bool:
    return bool((await link.consumer(subjects.EVENTS_STREAM, subjects.STATE_DURABLE)).paused)


async def test_a_replay_that_was_killed_halfway_is_made_good_by_the_next(
    link: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had the events held back, and a killed state service has one in hand."""
    monkeypatch.setattr(ops.replay, "IN_HAND_WITHIN_S", 0.5)
    await publish(link, *LOG)
    assert await link.pull(subjects.EVENTS_STREAM, subjects.STATE_DURABLE, stop=asyncio.Event())
    far = datetime.fromtimestamp(NOW + 3600, UTC).isoformat()
    await link.admin.pause_consumer(subjects.EVENTS_STREAM, subjects.STATE_DURABLE, far)
    async with state(link, retention_s=1000):
        assert await replay(link) == Replayed(events=len(LOG), statuses=1)
    assert await status(link) == fold_all(LOG)


async def test_a_replay_on_a_terminal_says_how_far_it_is(link: Bus) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    await publish(link, *LOG)
    with pytest.raises(Stuck):
        await replay(link, still_within_s=0.5, out=out)
    assert f"\r\x1b[K0 of {len(LOG)} events, 0/s, time left unknown" in out.getvalue()
    assert out.getvalue().endswith("\r\x1b[K")
