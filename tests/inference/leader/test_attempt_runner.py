"""An attempt from its message to its ending, with a script in place of the ranks."""

import errno
import threading

import pytest
from msgspec.structs import replace

from contracts import subjects
from contracts.broker import Expect, Unavailable
from contracts.events import (
    JobCancelled,
    JobDeleted,
    JobFailed,
    JobReleased,
    JobStarted,
    JobSucceeded,
    StageStarted,
    StepCompleted,
)
from contracts.job import CHECKPOINTS, input_name, video_name
from contracts.job_deletion import bury
from contracts.record import record_name
from contracts.video_files import picture_names
from inference.leader import attempt_runner, hanging
from inference.leader.attempt import Attempt
from inference.leader.bridge import ThreadBridge
from inference.leader.leave_reason import LeaveReason
from inference.ranks.commands import Run
from inference.ranks.monitor import FailureReport
from inference.ranks.worker import Failed, Outcome
from tests.inference.leader.scripted import LIMITS, RankZero, generate, step_until_left
from tests.kit.builders import ID, cancelled, deleted, started
from tests.kit.waiting import eventually

HANG_S = 5.0


def never(_bridge: ThreadBridge, _run: Run) -> Outcome:
    raise AssertionError("the ranks were asked")


def outcomes(rank_zero: RankZero) -> dict[str, float]:
    """The attempts that the cluster has counted, by outcome."""
    counted = rank_zero.context.numbers.metrics.all["wanjet_attempts_total"].read()
    return {outcome: count for (outcome,), count in counted.items() if isinstance(count, float) and count}


async def test_a_generated_video_is_stored_and_its_job_succeeds(rank_zero: RankZero) -> None:
    await rank_zero.run_next()
    ended = await rank_zero.log.ending(ID)
    assert isinstance((await rank_zero.events())[0], JobStarted)
    assert isinstance(ended, JobSucceeded)
    assert (ended.attempt, ended.width, ended.height, ended.num_frames) == (1, 64, 48, 25)
    assert await rank_zero.names() == {video_name(ID), *picture_names(ID), record_name(ended), input_name(ID)}
    assert not await rank_zero.is_queued()
    assert outcomes(rank_zero) == {"succeeded": 1}


async def test_a_job_that_the_ranks_cannot_generate_fails_with_their_reason(rank_zero: RankZero) -> None:
    await rank_zero.run_next(lambda _bridge, _run: Failed("the stage encode failed"))
    ended = await rank_zero.log.ending(ID)
    assert isinstance(ended, JobFailed)
    assert (ended.attempt, ended.reason) == (1, "the stage encode failed")
    assert outcomes(rank_zero) == {"failed": 1}
    assert await rank_zero.names() == set()
    assert not await rank_zero.is_queued()


async def test_a_job_that_another_cluster_has_claimed_is_left_to_it(rank_zero: RankZero) -> None:
    runner = await rank_zero.runner()
    assert await rank_zero.log.append(started(1, 1.0), expect=Expect(0))
    async with rank_zero.ranks(never):
        await runner.run()
    assert await rank_zero.events() == [started(1, 1.0)]
    assert outcomes(rank_zero) == {"lost": 1}
    assert await rank_zero.is_queued()


@pytest.mark.parametrize("ending", [cancelled(1.0), deleted(1.0)])
async def test_a_job_that_ends_while_the_ranks_work_is_left_and_cleaned_up(
    rank_zero: RankZero, ending: JobCancelled | JobDeleted
) -> None:
    runner = await rank_zero.runner()
    async with rank_zero.ranks(step_until_left):
        running = rank_zero.start(runner)
        await eventually(lambda: runner.attempt.on_ranks)
        await rank_zero.log.append(ending, expect=Expect(0, subjects.endings_of(ID)))
        await runner.lease.confirm_or_leave()
        await running
    assert await rank_zero.log.ending(ID) == ending
    assert outcomes(rank_zero) == {"cancelled": 1}
    assert await rank_zero.names() == set()
    assert not await rank_zero.is_queued()


@pytest.mark.parametrize("attempts_before", [0, 1])
async def test_a_job_that_was_deleted_before_it_is_claimed_is_left_by_every_cluster(
    rank_zero: RankZero, attempts_before: int
) -> None:
    """The log has forgotten the earlier attempts, so that nothing is there which a start could be refused by."""
    for number in range(1, attempts_before + 1):
        assert await rank_zero.log.append(started(number, 1.0), expect=Expect(0))
    runner = await rank_zero.runner()
    await bury(rank_zero.log, deleted(1.0))
    await rank_zero.link.purge(subjects.EVENTS_STREAM, subjects.all_but_endings_of(ID))
    async with rank_zero.ranks(step_until_left):
        await runner.run()
    assert await rank_zero.log.ending(ID) == deleted(1.0)
    assert await rank_zero.names() == set()
    assert not await rank_zero.is_queued()


async def test_an_attempt_that_is_told_to_stop_leaves_its_last_step_to_the_next_one(rank_zero: RankZero) -> None:
    runner = await rank_zero.runner()
    async with rank_zero.ranks(step_until_left):
        running = rank_zero.start(runner)
        await eventually(lambda: runner.attempt.progress.value > 0)
        runner.lease.order_leave(LeaveReason.TOLD_TO_STOP)
        await running
    events = await rank_zero.events()
    assert any(isinstance(event, JobReleased) for event in events)
    assert outcomes(rank_zero) == {"released": 1}
    done = max(event.step for event in events if isinstance(event, StepCompleted))
    assert (await rank_zero.attempt()).prepared.run.resumed_from_step == done


async def test_an_attempt_that_waits_for_the_ranks_is_handed_back_without_a_start(rank_zero: RankZero) -> None:
    runner = await rank_zero.runner()
    runner.lease.order_leave(LeaveReason.TOLD_TO_STOP)
    async with rank_zero.ranks(never):
        await runner.run()
    assert await rank_zero.events() == []
    assert outcomes(rank_zero) == {}
    assert (await rank_zero.attempt()).number == 1


async def test_a_job_that_runs_out_of_its_time_fails(rank_zero: RankZero) -> None:
    rank_zero.limit(replace(LIMITS, task_timeout_s=0.2))
    await rank_zero.run_next(step_until_left)
    ended = await rank_zero.log.ending(ID)
    assert isinstance(ended, JobFailed)
    assert ended.reason == "it ran longer than the 0.2 s that a job may"


async def test_the_next_attempt_adopts_a_video_whose_ending_was_never_published(
    rank_zero: RankZero, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broker_away(attempt: Attempt) -> None:
        await attempt.hand_back()
        raise Unavailable("the broker is away")

    with monkeypatch.context() as patched:
        patched.setattr(rank_zero.context.completer, "succeed", broker_away)
        await rank_zero.run_next()
    assert await rank_zero.names() == {video_name(ID), *picture_names(ID), input_name(ID)}
    await rank_zero.run_next(never)
    ended = await rank_zero.log.ending(ID)
    assert isinstance(ended, JobSucceeded)
    assert ended.attempt == 2


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "full"), "storage_full: there is no room for the video"),
        (MemoryError(), "the cluster ran out of memory at the stage store; "),
    ],
    ids=["disk", "memory"],
)
async def test_a_video_that_finds_no_room_fails_its_job(
    rank_zero: RankZero, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    def no_room(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(attempt_runner, "write_mp4", no_room)
    await rank_zero.run_next()
    ended = await rank_zero.log.ending(ID)
    assert isinstance(ended, JobFailed)
    assert ended.reason.startswith(reason)
    assert await rank_zero.names() == set()


async def test_a_store_that_is_away_leaves_the_message_to_be_delivered_again(
    rank_zero: RankZero, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "away")

    monkeypatch.setattr(attempt_runner, "write_mp4", away)
    runner = await rank_zero.run_next()
    assert runner.attempt.finished.is_set()
    assert outcomes(rank_zero) == {"put_off": 1}
    assert {type(event) for event in await rank_zero.events()} <= {JobStarted, StageStarted}
    assert await rank_zero.is_queued()


async def hang(rank_zero: RankZero, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run an attempt with ranks of which one fails and the others do not notice."""
    monkeypatch.setattr(hanging, "AGREE_WITHIN_S", 0.1)
    over = threading.Event()
    runner = await rank_zero.runner()

    async def no_ending(_outcome: object) -> None:
        """The process is gone by then."""

    monkeypatch.setattr(runner, "_conclude", no_ending)

    def fail_and_hang(bridge: ThreadBridge, run: Run) -> Outcome:
        bridge.failure_reported(FailureReport(run.job_id, run.attempt, "the stage denoise failed"))
        over.wait(HANG_S)
        return Failed("the vote came after all")

    async with rank_zero.ranks(fail_and_hang):
        running = rank_zero.start(runner)
        await eventually(lambda: rank_zero.aborted)
        over.set()
        await running


async def test_ranks_that_hang_after_a_failure_end_the_job_and_then_their_group(
    rank_zero: RankZero, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hang(rank_zero, monkeypatch)
    assert rank_zero.aborted == "a rank failed inside a collective"
    reasons = [event.reason for event in await rank_zero.events() if isinstance(event, JobFailed)]
    assert reasons == ["the stage denoise failed"]


async def test_a_failure_beside_dead_ranks_ends_the_group_and_not_the_job(
    rank_zero: RankZero, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(rank_zero.context.monitor), "all_alive", property(lambda _: False))
    await hang(rank_zero, monkeypatch)
    assert [type(event) for event in await rank_zero.events()] == [JobStarted]


async def test_no_checkpoint_stays_of_a_job_that_has_succeeded(rank_zero: RankZero) -> None:
    def save_and_generate(bridge: ThreadBridge, run: Run) -> Outcome:
        assert step_until_left(bridge, run) == Failed("nobody wanted the job left")
        return generate(bridge, run)

    await rank_zero.run_next(save_and_generate)
    assert not [name for name in await rank_zero.names() if name.startswith(CHECKPOINTS)]
