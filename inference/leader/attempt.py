"""One attempt at a job, from its message to its ending: its progress, why it is to be left, and what waits to be sent.

Rank 0's asyncio half creates it for each message of the queue. `ThreadBridge` feeds it from the ranks, `AttemptRunner`
drives it, and `Lease` reads from it what goes to the broker and to the stores. Only the thread of asyncio touches it.
"""

import asyncio
import time
from collections import deque
from enum import StrEnum

from contracts.broker import Delivery
from contracts.events import Event, Stage, StageStarted, StepCompleted, Timings
from inference.leader.planner import PreparedAttempt
from inference.leader.progress import Pace, Progress
from inference.ranks.monitor import FailureReport
from inference.wan.snapshot import DenoisingSnapshot

REPORTS_WAITING_MAX = 256


class LeaveReason(StrEnum):
    """Why an attempt is left before its ranks are done. The values stand in logs."""

    ENDED = "ended"
    TAKEN_OVER = "taken over"
    CUT_OFF = "cut off"
    TIMED_OUT = "timed out"
    TOLD_TO_STOP = "told to stop"

    @property
    def job_lost(self) -> bool:
        """Return whether the job has, or may have, an ending or another cluster at work on it.

        A lost job is not this attempt's any more: nothing about the job may be published.
        """
        return self in (LeaveReason.ENDED, LeaveReason.TAKEN_OVER, LeaveReason.CUT_OFF)

    @property
    def save_first(self) -> bool:
        """Return whether to save a snapshot before leaving, because another attempt is to go on from this step."""
        return self in (LeaveReason.TOLD_TO_STOP, LeaveReason.CUT_OFF)


class Attempt:
    """The state of one attempt, from the read of its message until its ending is published or left to others.

    `delivery` is the message that the attempt answers for, `pace` the cluster's measured speed, which the attempt adds
    to. Times are on the monotonic clock.
    """

    def __init__(self, delivery: Delivery, prepared: PreparedAttempt, pace: Pace) -> None:
        run = prepared.run
        self.delivery, self.prepared = delivery, prepared
        self.job_id, self.job, self.number = run.job_id, run.job, run.attempt
        self.progress = Progress(pace, run.job, width=run.width, height=run.height, ranks=run.plan)
        if run.snapshot is not None:
            self.progress.resume("denoise", run.resumed_from_step / run.job.infer_steps)
        self.begun = False
        """Whether the attempt has had its turn at the ranks; from then on a release is published."""
        self.on_ranks = False
        """Whether the ranks work on the job now."""
        self.leave_reason: LeaveReason | None = None
        self.failure: FailureReport | None = None
        self.snapshot: DenoisingSnapshot | None = None
        """The snapshot that waits to be saved."""
        self.reports: deque[Event] = deque(maxlen=REPORTS_WAITING_MAX)
        """The events that wait to be published; past the limit the oldest are lost."""

        self.rank_failed = asyncio.Event()
        """A rank has reported a failure of this attempt."""
        self.ranks_decoding = asyncio.Event()
        """The ranks have begun the last stage that they work on, or the attempt is finished."""
        self.ranks_done = asyncio.Event()
        """The ranks no longer work on the job, for whatever reason."""
        self.reports_waiting = asyncio.Event()
        """`reports` may hold events."""
        self.snapshot_waiting = asyncio.Event()
        """`snapshot` may hold a snapshot."""
        self.snapshot_saved = asyncio.Event()
        """Every snapshot so far is saved, or lost; set from the beginning."""
        self.finished = asyncio.Event()
        """The ending is published, or the job is left to another cluster."""
        self.snapshot_saved.set()

        self._confirmed_at = time.monotonic()
        self._handed_back = False
        self._phases: list[tuple[str, float]] = []

    # -- its course ------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Note that the attempt has its turn at the ranks: `still_for_s` counts from here on."""
        self.begun = True
        self.progress.start_clock()

    def finish(self) -> None:
        """Set `finished`, and wake the tasks that wait for reports, for snapshots or for `ranks_decoding`."""
        for event in (self.ranks_decoding, self.finished, self.reports_waiting, self.snapshot_waiting):
            event.set()

    def still_for_s(self) -> float:
        """Return the seconds since the attempt last moved; 0 until `begin`."""
        return time.monotonic() - self.progress.moved if self.begun else 0.0

    def time_phase(self, phase: str) -> None:
        """Begin to time a phase, a field of `Timings`, and end the phase before it."""
        self._phases.append((phase, time.monotonic()))

    def timings(self) -> Timings | None:
        """Return the seconds of each phase, the last of which ends now; None if none has begun.

        For an attempt whose phases have all begun: only `encode` may be missing, and is then 0.
        """
        if not self._phases:
            return None
        ends = [*(at for _, at in self._phases[1:]), time.monotonic()]
        seconds = {phase: round(end - at, 3) for (phase, at), end in zip(self._phases, ends, strict=True)}
        return Timings(load=round(self.prepared.load_s, 3), **{"encode": 0.0, **seconds})

    # -- called by the bridge --------------------------------------------------------------------------------------

    def boundary_reached(self, stage: Stage, step: int) -> None:
        """Note that a stage begins (step 0) or that `step` steps of `denoise` are done, and put the event in `reports`.

        Also moves the progress, times the phase, and sets `ranks_decoding` at the last stage on the ranks.
        """
        steps = self.job.infer_steps
        resumed = self.prepared.run.resumed_from_step if stage == "denoise" else 0
        value = self.progress.advance_to(stage, max(step, resumed) / steps)
        job_id, attempt, at = self.job_id, self.number, time.time()
        self.reports.append(
            StageStarted(job_id=job_id, at=at, attempt=attempt, stage=stage, progress=value)
            if step == 0
            else StepCompleted(job_id=job_id, at=at, attempt=attempt, step=step, steps=steps, progress=value)
        )
        self.reports_waiting.set()
        if step == 0:
            self.time_phase("mux" if stage == "store" else stage)
        if stage == "decode":
            self.ranks_decoding.set()

    def failure_reported(self, failure: FailureReport) -> None:
        """Note the failure of a rank, and set `rank_failed`. A report that belongs to another attempt is ignored."""
        if (failure.job_id, failure.attempt) == (self.job_id, self.number):
            self.failure = failure
            self.rank_failed.set()

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
        """Note why the attempt is to be left, and return whether the reason was taken. `Lease.leave` tells the ranks.

        The first reason stands, but a reason by which the job is lost replaces one by which it is not.
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
