"""The lease of an attempt: how it is renewed, and by what it is lost."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace

from inference.leader.attempt import Attempt
from inference.leader.lease import Lease
from inference.leader.leave_reason import LeaveReason
from inference.leader.outbox import Outbox
from ops import provision
from tests.inference.leader.scripted import LIMITS, RankZero, snapshot
from tests.kit.broker import Broker, provision_settings
from tests.kit.builders import ID, cancelled, started
from tests.kit.waiting import eventually

SHORT_S = 0.3


@asynccontextmanager
async def kept(lease: Lease, attempt: Attempt) -> AsyncGenerator[None, None]:
    """Keep the lease for the length of the block."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(lease.renew_or_leave())
        try:
            yield
        finally:
            attempt.finish()


async def test_a_lease_that_the_log_confirms_is_kept(rank_zero: RankZero) -> None:
    attempt = await rank_zero.attempt()
    await rank_zero.log.append(started(1, 1.0))
    await rank_zero.lease(attempt).confirm_or_leave()
    assert attempt.leave_reason is None


async def test_a_job_that_has_ended_is_left(rank_zero: RankZero) -> None:
    attempt = await rank_zero.attempt()
    await rank_zero.log.publish_ending(cancelled(1.0))
    assert not await rank_zero.lease(attempt).still_ours()
    assert attempt.leave_reason is LeaveReason.ENDED


async def test_a_job_that_a_later_attempt_has_started_is_left(rank_zero: RankZero) -> None:
    attempt = await rank_zero.attempt()
    await rank_zero.log.append(started(2, 1.0))
    assert not await rank_zero.lease(attempt).still_ours()
    assert attempt.leave_reason is LeaveReason.TAKEN_OVER


async def test_a_kept_message_is_delivered_to_nobody_else(broker: Broker, rank_zero: RankZero) -> None:
    ack_wait_s = 1
    await provision.provision(rank_zero.link, provision_settings(broker, ack_wait=ack_wait_s))
    attempt = await rank_zero.attempt()
    async with kept(rank_zero.lease(attempt, ack_wait_s=ack_wait_s), attempt):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3 * ack_wait_s):
                await rank_zero.delivery()
    assert (await rank_zero.delivery()).data == attempt.delivery.data


async def test_an_attempt_whose_broker_is_away_is_cut_off(broker: Broker, rank_zero: RankZero) -> None:
    attempt = await rank_zero.attempt()
    async with kept(rank_zero.lease(attempt, ack_wait_s=SHORT_S), attempt):
        await asyncio.to_thread(broker.kill)
        await eventually(lambda: attempt.leave_reason is LeaveReason.CUT_OFF)
    assert attempt.job_lost


async def test_a_job_that_does_not_move_ends_the_group(rank_zero: RankZero) -> None:
    attempt = await rank_zero.attempt()
    impatient = replace(LIMITS, stage_floor_s=0.1, stage_timeout_s=0.2)
    attempt.begin()
    async with kept(rank_zero.lease(attempt, ack_wait_s=SHORT_S, limits=impatient), attempt):
        await eventually(lambda: rank_zero.aborted)
    assert rank_zero.aborted == "nothing moved in encode for 0 s"


async def test_only_an_attempt_on_the_ranks_is_left_by_them(rank_zero: RankZero) -> None:
    attempt = await rank_zero.attempt()
    rank_zero.lease(attempt).order_leave(LeaveReason.TIMED_OUT)
    assert not rank_zero.bridge.report_boundary("denoise", 1)
    attempt.on_ranks = True
    rank_zero.lease(attempt).order_leave(LeaveReason.ENDED)
    assert rank_zero.bridge.report_boundary("denoise", 2)


async def test_a_snapshot_comes_first_where_another_attempt_is_to_go_on(rank_zero: RankZero) -> None:
    attempt = await rank_zero.attempt()
    attempt.on_ranks = True
    rank_zero.lease(attempt).order_leave(LeaveReason.TOLD_TO_STOP)
    assert not rank_zero.bridge.report_boundary("denoise", 1)
    rank_zero.bridge.offer_snapshot(lambda: snapshot(2))
    assert rank_zero.bridge.report_boundary("denoise", 2)


@pytest.mark.parametrize(
    ("reasons", "stands"),
    [
        ([LeaveReason.TIMED_OUT, LeaveReason.TOLD_TO_STOP], LeaveReason.TIMED_OUT),
        ([LeaveReason.TOLD_TO_STOP, LeaveReason.ENDED], LeaveReason.ENDED),
        ([LeaveReason.CUT_OFF, LeaveReason.TOLD_TO_STOP], LeaveReason.CUT_OFF),
        ([LeaveReason.TAKEN_OVER, LeaveReason.ENDED], LeaveReason.TAKEN_OVER),
    ],
    ids=lambda each: "-".join(each) if isinstance(each, list) else None,
)
async def test_the_first_reason_stands_unless_the_job_is_lost(
    rank_zero: RankZero, reasons: list[LeaveReason], stands: LeaveReason
) -> None:
    attempt = await rank_zero.attempt()
    for reason in reasons:
        rank_zero.lease(attempt).order_leave(reason)
    assert attempt.leave_reason is stands


@pytest.mark.parametrize(("ack_wait_s", "published"), [(0.0, 0), (30.0, 1)], ids=["slept", "fresh"])
async def test_a_process_that_may_have_slept_asks_the_log_before_it_reports(
    rank_zero: RankZero, ack_wait_s: float, published: int
) -> None:
    attempt = await rank_zero.attempt()
    await rank_zero.log.append(started(2, 1.0))
    attempt.boundary_reached("encode", 0)
    lease = rank_zero.lease(attempt, ack_wait_s=ack_wait_s)
    outbox = Outbox(attempt, lease, rank_zero.log, rank_zero.context.checkpoints, rank_zero.bridge)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(outbox.publish_reports())
        await eventually(lambda: not attempt.reports)
        await eventually(lambda: attempt.job_lost or published)
        if published:
            await eventually(lambda: reported(rank_zero, published))
        attempt.finish()
    assert len(await rank_zero.events()) == 1 + published


async def reported(rank_zero: RankZero, count: int) -> bool:
    return len(await rank_zero.events()) == 1 + count


async def test_a_snapshot_becomes_the_jobs_checkpoint_and_the_next_may_be_made(rank_zero: RankZero) -> None:
    attempt = await rank_zero.attempt()
    fingerprint = attempt.prepared.job_fingerprint
    checkpoints = rank_zero.context.checkpoints
    outbox = Outbox(attempt, rank_zero.lease(attempt), rank_zero.log, checkpoints, rank_zero.bridge)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(outbox.save_snapshots())
        attempt.snapshot_ready(snapshot(4))
        assert not attempt.snapshot_saved.is_set()
        await eventually(attempt.snapshot_saved.is_set)
        attempt.finish()
    found = await checkpoints.latest(ID, fingerprint)
    assert found is not None
    assert found.step == 4
