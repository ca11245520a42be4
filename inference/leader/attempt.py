"""One attempt at a job, from its message to its ending: its progress, why it is to be left, and what waits to be sent.

Rank 0's asyncio half creates it for each message of the queue. `ThreadBridge` feeds it from the ranks, `AttemptRunner`
drives it, and `Lease` reads from it what goes to the broker and to the stores. Only the thread of asyncio touches it.
"""

import asyncio
import time

from contracts.broker import Delivery
from contracts.job_ended import Known
from contracts.stage_times import Stage, Timings
from inference.leader.attempt_trace import AttemptTrace
from inference.leader.leave_reason import LeaveReason
from inference.leader.pace import Pace
from inference.leader.phase_clock import PhaseClock
from inference.leader.planner import PreparedAttempt
from inference.leader.progress import Progress, rounded_s
from inference.leader.reports import Reports
from inference.ranks.monitor import FailureReport
from inference.wan.generate import Picture
from inference.wan.snapshot import DenoisingSnapshot


class Attempt:
    """The state of one attempt, from the read of its message until its ending is published or left to others.

    `delivery` is the message that the attempt answers for, `pace` the cluster's measured speed, which the attempt adds
    to. Times are on the monotonic clock.
    """

    preview: tuple[int, Picture] | None = None
    """The step and picture of the preview that waits to be published."""

    def __init__(self, delivery: Delivery, prepared: PreparedAttempt, pace: Pace) -> None:
        run = prepared.run
        self.delivery, self.prepared = delivery, prepared
        self.job_id, self.job, self.number = run.job_id, run.job, run.attempt
        self.progress = Progress(pace, run.job, width=run.width, height=run.height, ranks=run.plan)
        if run.snapshot is not None:
            self.progress.resume("denoise", run.resumed_from_step / run.job.infer_steps)
        self.trace = AttemptTrace(delivery, prepared)
        self.phases = PhaseClock(self.trace.phase)
        self._first_start_at: float | None = prepared.first_start_at
        self.begun = False
        """Whether the attempt has had its turn at the ranks; from then on a release is published."""
        self.on_ranks = False
        """Whether the ranks work on the job now."""
        self.leave_reason: LeaveReason | None = None
        self.failure: FailureReport | None = None
        self.snapshot: DenoisingSnapshot | None = None
        """The snapshot that waits to be saved."""

        self.rank_failed = asyncio.Event()
        """A rank has reported a failure of this attempt."""
        self.ranks_decoding = asyncio.Event()
        """The ranks have begun the last stage that they work on, or the attempt is finished."""
        self.ranks_done = asyncio.Event()
        """The ranks no longer work on the job, for whatever reason."""
        self.preview_waiting, self.reports_waiting = asyncio.Event(), asyncio.Event()
        """`preview` may hold one, `reports` events."""
        self.reports = Reports(self.job_id, self.number, self.reports_waiting)
        """The events that wait to be published."""
        self.snapshot_waiting = asyncio.Event()
        """`snapshot` may hold a snapshot."""
        self.snapshot_saved = asyncio.Event()
        """Every snapshot so far is saved, or lost; set from the beginning."""
        self.finished = asyncio.Event()
        """The ending is published, or the job is left to another cluster."""
        self.snapshot_saved.set()

        self._confirmed_at, self._handed_back = time.monotonic(), False

    # -- its course ------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Note that the attempt has its turn at the ranks: `still_for_s` counts from here on."""
        self.begun, self._first_start_at = True, self.prepared.first_start_at or time.time()
        self.progress.start_clock()

    def finish(self) -> None:
        """Set `finished`, and wake the tasks that wait for something to send or for `ranks_decoding`."""
        waited_for = self.reports_waiting, self.snapshot_waiting, self.preview_waiting
        for event in (self.ranks_decoding, self.finished, *waited_for):
            event.set()

    def still_for_s(self) -> float:
        """Return the seconds since the attempt last moved; 0 until `begin`."""
        return time.monotonic() - self.progress.moved if self.begun else 0.0

    def left_s(self, *, on_ranks: bool = False) -> float | None:
        """Return the seconds until the video is made, or the ranks are done with it; None as long as unknown.

        The time for which the attempt still waits for the ranks is not counted.
        """
        if self.ranks_done.is_set() and on_ranks:
            return 0.0
        return self.progress.left_s(on_ranks=on_ranks, running=self.begun)

    @property
    def eta_seconds(self) -> float | None:
        """Return what `left_s` does, as events have it."""
        return rounded_s(self.left_s())

    def timings(self) -> Timings | None:
        """Return the seconds of each phase, the last of which ends now; None if none has begun."""
        return self.phases.timings(load_s=self.prepared.load_s)

    @property
    def known(self) -> Known:
        """Return the facts about the job for its line in the log."""
        submitted, run = self.prepared.submitted, self.prepared.run
        waited_s = None if self._first_start_at is None else self._first_start_at - submitted.created_at
        size = f"{run.width}*{run.height}"
        return Known(submitted=submitted, size=size, plan=run.plan, attempts=self.number, waited_s=waited_s)

    # -- called by the bridge --------------------------------------------------------------------------------------

    def boundary_reached(self, stage: Stage, step: int) -> None:
        """Note that a stage begins (step 0) or that `step` steps of `denoise` are done, and put the event in `reports`.

        Also moves the progress, times the phase, and sets `ranks_decoding` at the last stage on the ranks.
        """
        steps = self.job.infer_steps
        resumed = self.prepared.run.resumed_from_step if stage == "denoise" else 0
        value = self.progress.advance_to(stage, max(step, resumed) / steps)
        if step > 0:
            self.reports.add_step(step, steps, value, self.eta_seconds)
            self.trace.step(step)
        else:
            self.reports.add_stage(stage, value, self.eta_seconds)
            self.phases.begin("mux" if stage == "store" else stage)
        if stage == "decode":
            self.ranks_decoding.set()

    def part_done(self, stage: Stage, done: float) -> None:
        """Note that a share (0 to 1) of a stage is done, and put an event in `reports` unless the last is too recent.

        What comes late, after a further stage has begun, is ignored.
        """
        value = self.progress.show(stage, done)
        if stage == self.progress.stage:
            self.reports.add_part_if_due(stage, done, value, self.eta_seconds)

    def frame_written(self, done: float) -> None:
        """Note that a share (0 to 1) of the mp4's frames is written: the attempt moves, and may report it."""
        self.progress.advance_to("store", done)
        self.part_done("store", done)

    def failure_reported(self, failure: FailureReport) -> None:
        """Note the failure of a rank, and set `rank_failed`. A report that belongs to another attempt is ignored."""
        if (failure.job_id, failure.attempt) == (self.job_id, self.number):
            self.failure = failure
            self.rank_failed.set()

    def preview_ready(self, step: int, picture: Picture) -> None:
        """Take the preview after a step to be published, in place of one that still waits."""
        self.preview = step, picture
        self.preview_waiting.set()

    def snapshot_ready(self, snapshot: DenoisingSnapshot) -> None:
        """Take a snapshot to be saved, in place of one that still waits, and clear `snapshot_saved`."""
        self.snapshot = snapshot
        self.snapshot_saved.clear()
        self.snapshot_waiting.set()

    # -- whose the job is ------------------------------------------------------------------------------------------

    @property
    def job_lost(self) -> bool:
        """Return whether the attempt is left for a reason by which the job is no longer its own."""
        return self.leave_reason is not None and self.leave_reason.job_lost

    def note_confirmed(self) -> None:
        """Note that the log was asked and names no later attempt."""
        self._confirmed_at = time.monotonic()

    def unconfirmed_for_s(self) -> float:
        """Return the seconds since `note_confirmed`, or since the attempt was made."""
        return time.monotonic() - self._confirmed_at

    def set_leave_reason(self, reason: LeaveReason) -> bool:
        """Note why the attempt is to be left, and return whether the reason was taken.

        `Lease.order_leave` tells the ranks. The first reason stands, but a reason by which the job is lost replaces one
        by which it is not.
        """
        if self.job_lost or (self.leave_reason is not None and not reason.job_lost):
            return False
        self.leave_reason = reason
        return True

    async def hand_back(self) -> None:
        """Give the message to the next cluster that asks. Only the first call does: a second would take it from there.

        No error if the broker is away: the message is delivered again after the consumer's `ack_wait`.
        """
        if not self._handed_back:
            self._handed_back = True
            await self.delivery.hand_back()
