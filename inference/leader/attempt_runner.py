"""Run one attempt at a job: claim the job, have the ranks generate its video, store the video, publish the ending.

`Leader` makes an `AttemptRunner` for each message that it reads, and runs it in a task of its own. `started` is
published before any work and refused by the log if another cluster was first: a job may be delivered twice
(at-least-once), and is still done once.
"""

import asyncio
from contextlib import suppress
from functools import partial

import torch
from msgspec import structs

from contracts.broker import Unavailable
from contracts.events import JobSucceeded, Stage
from contracts.process import lifetime, log
from contracts.stores import described
from inference.leader.attempt import Attempt
from inference.leader.context import RunnerContext
from inference.leader.hanging import fail_if_ranks_hang
from inference.leader.job_videos import no_room_for_video
from inference.leader.lease import Lease
from inference.leader.leave_reason import LeaveReason
from inference.leader.mp4 import write_mp4
from inference.leader.numbers import AttemptOutcome
from inference.leader.outbox import Outbox
from inference.leader.pictures import pictures_if_possible
from inference.ranks.worker import Failed, Generated, Left, Outcome

SAVE_WITHIN_S = 10.0


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
        self._outcome, self._timings = AttemptOutcome.PUT_OFF, None
        """For the metrics: how the attempt ended, and its times if it made a video."""

    async def run(self) -> None:
        """Wait for the ranks, run the attempt to its end, and renew its lease meanwhile. Call it once.

        Logs a failure of broker or store: the job is delivered again. Raises others, in an `ExceptionGroup`.
        """
        attempt, lease, outbox = self.attempt, self.lease, self._outbox
        sending = outbox.publish_reports, outbox.publish_previews, outbox.save_snapshots
        beside = lease.renew_or_leave, *sending, partial(fail_if_ranks_hang, attempt, self._context.monitor, self._fail)
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
                    self._context.numbers.ended(attempt, self._outcome, self._timings)
        except* (Unavailable, OSError) as away:
            log.get().warning("job_put_off", error=described(away.exceptions[0]))

    async def _claim(self) -> bool:
        """Publish `started`, unless the attempt is left already, and return whether the attempt has the job."""
        attempt = self.attempt
        if attempt.leave_reason is not None:
            return False
        attempt.begin()
        if not await self._context.planner.publish_start(attempt.prepared, attempt.progress.value, attempt.eta_seconds):
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
            return await self._context.bridge.run_on_ranks(
                run,
                on_boundary=self._boundary_reached,
                on_part=attempt.part_done,
                on_failure=attempt.failure_reported,
                on_snapshot=attempt.snapshot_ready,
                on_preview=attempt.preview_ready,
            )
        finally:
            time_is_up.cancel()
            attempt.on_ranks = False
            attempt.ranks_done.set()

    def _boundary_reached(self, stage: Stage, step: int) -> None:
        self._context.numbers.boundary(self.attempt, stage, step)
        self.attempt.boundary_reached(stage, step)

    async def _conclude(self, outcome: Outcome | None) -> None:
        """Wait for the last snapshot to be saved; then end the attempt by the ranks' outcome, by success for None."""
        await lifetime.wait_until_set(self.attempt.snapshot_saved, within_s=SAVE_WITHIN_S)
        match outcome:
            case Generated(video_CTHW):
                await self._store_and_complete(video_CTHW)
            case Failed(reason):
                await self._fail(reason)
            case Left():
                await self._conclude_after_leaving()
            case None:
                log.get().info("video_adopted")
                await self._context.videos.add_missing_pictures(self.attempt.job_id)
                await self._succeed()

    async def _store_and_complete(self, video_CTHW: torch.Tensor) -> None:
        """Store the video and end the job as succeeded, or as failed if a disk or the memory is full."""
        try:
            await self._encode_and_publish_video(video_CTHW)
        except (OSError, RuntimeError, MemoryError) as error:
            run = self.attempt.prepared.run
            if (reason := no_room_for_video(error, run.job, run.plan, self._context.cluster.world_size)) is None:
                raise
            log.get().error("video_not_stored", error=repr(error))
            await self._fail(reason)
            return
        self.attempt.trace.end_phase()
        await (self._conclude_after_leaving() if self.attempt.job_lost else self._succeed())

    async def _encode_and_publish_video(self, video_CTHW: torch.Tensor) -> None:
        """Encode the mp4 as a draft, and make it the job's video unless the job is lost or has that video already."""
        attempt, videos = self.attempt, self._context.videos
        loop = asyncio.get_running_loop()

        def on_frame(done: int) -> None:
            loop.call_soon_threadsafe(attempt.frame_written, done / video_CTHW.shape[1])

        facts = attempt.job_id, attempt.prepared.job_fingerprint
        with videos.draft(attempt.job_id) as draft:
            await asyncio.to_thread(write_mp4, video_CTHW, draft, on_frame, job_fingerprint=facts[1])
            pictures = await asyncio.to_thread(pictures_if_possible, video_CTHW)
            attempt.phases.begin("store")
            attempt.progress.end_last_stage()
            with suppress(Unavailable):  # without a broker it is safe to publish the file: the next attempt adopts it
                await self.lease.confirm_or_leave()
            if attempt.job_lost:
                return
            is_new = await videos.publish(draft, *facts, still_ours=self.lease.still_ours)
            if not is_new:
                log.get().warning("video_adopted")
            await videos.put_pictures(attempt.job_id, pictures, fresh=is_new)

    async def _conclude_after_leaving(self) -> None:
        """Release, fail, acknowledge or only log a job whose attempt was left, by the reason for it."""
        attempt = self.attempt
        match attempt.leave_reason:
            case LeaveReason.TOLD_TO_STOP:
                await (self._completer.release(attempt) if attempt.begun else attempt.hand_back())
                self._outcome = AttemptOutcome.RELEASED
            case LeaveReason.TIMED_OUT:
                await self._fail(f"it ran longer than the {self._context.limits.task_timeout_s:g} s that a job may")
            case LeaveReason.ENDED:
                if (ending := await self._context.job_log.ending(attempt.job_id)) is not None:
                    self._outcome = AttemptOutcome.of(ending)
                    await self._completer.acknowledge_and_clean_up(attempt.delivery, ending)
            case reason:  # TAKEN_OVER: another cluster has the job; CUT_OFF: the broker, once back, says who has it
                self._outcome = AttemptOutcome.LOST
                log.get().warning("job_left", why=reason and reason.value)

    async def _succeed(self) -> None:
        """End the job, whose video is stored, as succeeded, unless it has ended."""
        ending = await self._completer.succeed(self.attempt)
        self._outcome = AttemptOutcome.of(ending)
        self._timings = ending.timings if isinstance(ending, JobSucceeded) else None

    async def _fail(self, reason: str) -> None:
        """End the job as failed, unless it has ended; `reason` is safe to show."""
        attempt = self.attempt
        ending = await self._completer.fail(attempt.delivery, attempt.job_id, attempt.number, reason, attempt.known)
        self._outcome = AttemptOutcome.of(ending)
