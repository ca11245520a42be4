"""Run one attempt at a job: claim the job, have the ranks generate its video, store the video, publish the ending.

`Leader` makes an `AttemptRunner` for each message that it reads, and runs it in a task of its own. `started` is
published before any work and refused by the log if another cluster was first: a job may be delivered twice
(at-least-once), and is still done once.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from msgspec import structs

from contracts.broker import Unavailable
from contracts.job_log import JobLog
from contracts.process import lifetime, log
from contracts.stores import described
from inference.leader.attempt import Attempt, LeaveReason
from inference.leader.bridge import ThreadBridge
from inference.leader.completion import JobCompleter
from inference.leader.job_checkpoints import JobCheckpoints
from inference.leader.job_videos import JobVideos, no_room_for_video
from inference.leader.lease import Lease
from inference.leader.limits import Limits
from inference.leader.mp4 import write_mp4
from inference.leader.outbox import Outbox
from inference.leader.planner import AttemptPlanner
from inference.ranks.monitor import GroupMonitor
from inference.ranks.worker import Failed, Generated, Left, Outcome

AGREE_WITHIN_S = 10.0
"""How long the other ranks may take to their next boundary after one has failed, before they count as hanging."""
SAVE_WITHIN_S = 10.0


@dataclass(frozen=True)
class RunnerContext:
    """The parts that all attempts of this process share; made once for its whole life.

    The attempt on which the ranks work holds `ranks_lock`. `world_size` is the number of ranks.
    """

    job_log: JobLog
    planner: AttemptPlanner
    completer: JobCompleter
    checkpoints: JobCheckpoints
    videos: JobVideos
    bridge: ThreadBridge
    monitor: GroupMonitor
    limits: Limits
    world_size: int
    ranks_lock: asyncio.Lock


class AttemptRunner:
    """Runs `attempt` once; made when its message is read, done when its ending is published or left to others."""

    def __init__(self, attempt: Attempt, context: RunnerContext, *, ack_wait_s: float) -> None:
        self.attempt = attempt
        self._context, self._completer = context, context.completer
        bridge, job_log = context.bridge, context.job_log
        self.lease = Lease(
            attempt, job_log, bridge=bridge, monitor=context.monitor, limits=context.limits, ack_wait_s=ack_wait_s
        )
        self._outbox = Outbox(attempt, self.lease, job_log, context.checkpoints, bridge)

    async def run(self) -> None:
        """Wait for the ranks, run the attempt to its end, and renew its lease meanwhile. Call it once.

        Logs a failure of broker or store: the job is delivered again. Raises others, in an `ExceptionGroup`.
        """
        attempt, lease, outbox = self.attempt, self.lease, self._outbox
        beside = (lease.renew_or_leave, outbox.publish_reports, outbox.save_snapshots, self._fail_if_ranks_hang)
        try:
            async with asyncio.TaskGroup() as tasks:
                for companion in beside:
                    tasks.create_task(companion())
                try:
                    async with self._context.ranks_lock:
                        outcome = await self._generate() if await self._claim() else Left()
                    await self._conclude(outcome)
                finally:
                    attempt.finish()
        except* (Unavailable, OSError) as away:
            log.get().warning("job_put_off", error=described(away.exceptions[0]))

    async def _claim(self) -> bool:
        """Publish `started`, unless the attempt is left already, and return whether the attempt has the job."""
        attempt = self.attempt
        if attempt.leave_reason is not None:
            return False
        attempt.begin()
        if not await self._context.planner.publish_start(attempt.prepared, attempt.progress.value):
            attempt.set_leave_reason(LeaveReason.TAKEN_OVER)
        return attempt.leave_reason is None

    async def _generate(self) -> Outcome | None:
        """Have the ranks generate the video, up to the job's time limit; return None if the video exists already."""
        attempt, prepared = self.attempt, self.attempt.prepared
        if prepared.video_exists:
            return None
        run, plan = prepared.run, structs.asdict(prepared.run.plan)
        log.get().info("job_started", width=run.width, height=run.height, from_step=run.resumed_from_step, **plan)
        loop, leave, attempt.on_ranks = asyncio.get_running_loop(), self.lease.order_leave, True
        time_is_up = loop.call_later(prepared.left_s, leave, LeaveReason.TIMED_OUT)
        try:
            hooks = attempt.boundary_reached, attempt.failure_reported, attempt.snapshot_ready
            return await self._context.bridge.run_on_ranks(run, *hooks)
        finally:
            time_is_up.cancel()
            attempt.on_ranks = False
            attempt.ranks_done.set()

    async def _conclude(self, outcome: Outcome | None) -> None:
        """Wait for the last snapshot to be saved; then end the attempt by the ranks' outcome, by success for None."""
        await lifetime.wait(self.attempt.snapshot_saved, within_s=SAVE_WITHIN_S)
        match outcome:
            case Generated(video_CTHW):
                await self._store_and_complete(video_CTHW)
            case Failed(reason):
                await self._fail(reason)
            case Left():
                await self._conclude_after_leaving()
            case None:
                log.get().info("video_adopted")
                await self._completer.succeed(self.attempt)

    async def _store_and_complete(self, video_CTHW: torch.Tensor) -> None:
        """Store the video and end the job as succeeded, or as failed if a disk or the memory is full."""
        try:
            await self._encode_and_publish_video(video_CTHW)
        except (OSError, RuntimeError, MemoryError) as error:
            run = self.attempt.prepared.run
            if (reason := no_room_for_video(error, run.job, run.plan, self._context.world_size)) is None:
                raise
            log.get().error("video_not_stored", error=repr(error))
            await self._fail(reason)
            return
        await (self._conclude_after_leaving() if self.attempt.job_lost else self._completer.succeed(self.attempt))

    async def _encode_and_publish_video(self, video_CTHW: torch.Tensor) -> None:
        """Encode the mp4 as a draft, and make it the job's video unless the job is lost or has that video already."""
        attempt, videos = self.attempt, self._context.videos
        loop = asyncio.get_running_loop()

        def encode(draft: Path) -> None:
            def on_frame(done: int) -> None:
                loop.call_soon_threadsafe(attempt.progress.advance_to, "store", done / video_CTHW.shape[1])

            write_mp4(video_CTHW, draft, on_frame, job_fingerprint=attempt.prepared.job_fingerprint)

        with videos.draft(attempt.job_id) as draft:
            await asyncio.to_thread(encode, draft)
            attempt.time_phase("store")
            attempt.progress.end_last_stage()
            with suppress(Unavailable):  # without a broker it is safe to publish the file: the next attempt adopts it
                await self.lease.confirm_or_leave()
            if attempt.job_lost:
                return
            facts = attempt.job_id, attempt.prepared.job_fingerprint
            if not await videos.publish(draft, *facts, still_ours=self.lease.still_ours):
                log.get().warning("video_adopted")

    async def _conclude_after_leaving(self) -> None:
        """Release, fail, acknowledge or only log a job whose attempt was left, by the reason for it."""
        attempt = self.attempt
        match attempt.leave_reason:
            case LeaveReason.TOLD_TO_STOP:
                await (self._completer.release(attempt) if attempt.begun else attempt.hand_back())
            case LeaveReason.TIMED_OUT:
                await self._fail(f"it ran longer than the {self._context.limits.task_timeout_s:g} s that a job may")
            case LeaveReason.ENDED:
                if (ending := await self._context.job_log.ending(attempt.job_id)) is not None:
                    await self._completer.acknowledge_and_clean_up(attempt.delivery, ending)
            case reason:  # TAKEN_OVER: another cluster has the job; CUT_OFF: the broker, once back, says who has it
                log.get().warning("job_left", why=reason and reason.value)

    async def _fail(self, reason: str) -> None:
        """End the job as failed, unless it has ended; `reason` is safe to show."""
        await self._completer.fail(self.attempt.delivery, self.attempt.job_id, self.attempt.number, reason)

    async def _fail_if_ranks_hang(self) -> None:
        """Fail the job and abort the group if a rank has failed and the others do not reach the next vote in time.

        They hang in a collective, so the group must be restarted. If ranks are dead, the attempt counts as one whose
        cluster died: the job is not failed.
        """
        attempt, monitor = self.attempt, self._context.monitor
        first = await lifetime.first_of(attempt.rank_failed, attempt.ranks_done, attempt.finished)
        if first is not attempt.rank_failed:
            return
        if await lifetime.wait(attempt.ranks_done, within_s=AGREE_WITHIN_S) or attempt.failure is None:
            return
        try:
            if monitor.all_alive:
                await self._fail(attempt.failure.reason)
        finally:
            monitor.abort_group("a rank failed inside a collective")
