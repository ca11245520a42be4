"""Compute a job's progress as a number: its stages and steps, weighted by the time that they were measured to take.

Each `Attempt` has a `Progress`, fed with its boundaries; all share the cluster's `Pace`. The same times say how long
the job will still take, and how long a stage may take before the ranks count as hanging.
"""

import time
from collections.abc import Hashable

from contracts.bounds import SECONDS_MAX
from contracts.job import Job
from contracts.stage_times import STAGES, Stage
from inference.leader.pace import Pace, guessed_s

BEFORE_THE_END = 0.99  # 1.0 is for a job whose video can be read

LIMIT_TIMES = 10.0
"""How many times its longest measured time a stage or step may take."""
SECONDS_DIGITS = 1


class Progress:
    """The progress of one attempt from 0 to 1, by its boundaries; it never falls.

    `width` and `height` are the video's in pixels; `ranks` is the plan, or anything else that tells it from another.
    """

    def __init__(self, pace: Pace, job: Job, *, width: int, height: int, ranks: Hashable = None) -> None:
        self._pace, self._job = pace, job
        self._shape = (width, height, job.num_frames, job.guided, ranks)
        self._pixels = width * height * job.num_frames
        expected_s = {stage: pace.expected_s(stage, job, self._pixels) for stage in STAGES}
        whole_s = sum(expected_s.values())
        self._share = {stage: seconds / whole_s for stage, seconds in expected_s.items()}
        self._began = time.monotonic()
        self.stage: Stage = STAGES[0]
        self._entered_at = 0.0
        """The fraction of the stage that was done when this attempt came to it."""
        self._fraction, self._fraction_at = 0.0, self._began
        """The fraction of the stage that is done, and since when it is."""
        self._first_step: tuple[float, float] | None = None
        """The fraction of `denoise` after the first step of this attempt, and when it was done."""
        self.value = 0.0
        self.moved = self._began
        """When the attempt last moved, on the monotonic clock."""

    def resume(self, stage: Stage, fraction: float) -> None:
        """Set where the attempt goes on from: a fraction (0 to 1) of a stage. Call it before anything else."""
        self.stage, self._entered_at = stage, fraction
        self.advance_to(stage, fraction)

    def start_clock(self) -> None:
        """Start the time of the current stage anew, because the attempt has waited for the ranks until now."""
        self._began = self.moved = self._fraction_at = time.monotonic()

    def advance_to(self, stage: Stage, fraction: float) -> float:
        """Move to this fraction (0 to 1) of a stage, and return `value`, at most `BEFORE_THE_END`.

        The time since the last move goes into the pace, and that of a whole stage once the next one is entered.
        """
        now = time.monotonic()
        if stage != self.stage or fraction > self._entered_at:  # not as the attempt begins or resumes
            self._pace.record_work_time((self.stage, *self._shape), now - self.moved)
        self.moved = now
        if stage != self.stage:
            self._record_stage(self.moved)
            self.stage, self._began, self._entered_at = stage, self.moved, 0.0
            self._fraction, self._fraction_at = 0.0, now
        elif stage == "denoise" and fraction > self._entered_at and self._first_step is None:
            self._first_step = fraction, now
        return self.show(stage, fraction)

    def show(self, stage: Stage, fraction: float) -> float:
        """Raise `value` to this fraction (0 to 1) of a stage, and return it, at most `BEFORE_THE_END`.

        Neither the pace nor `moved` changes: whether the ranks hang is judged by whole stages and steps.
        """
        if stage == self.stage and fraction > self._fraction:
            self._fraction, self._fraction_at = fraction, time.monotonic()
        before = sum(self._share[earlier] for earlier in STAGES[: STAGES.index(stage)])
        self.value = max(self.value, min(BEFORE_THE_END, before + self._share[stage] * fraction))
        return self.value

    def left_s(self, *, on_ranks: bool = False, running: bool = True) -> float | None:
        """Return the seconds until the video is made, or until the ranks are done with it; None as long as unknown.

        It is known once the cluster has measured a stage of any job, or this attempt two steps. `running` is False for
        an attempt that waits for the ranks: no time passes for it.
        """
        denoising_s = self._measured_denoising_s()
        if denoising_s is None and not self._pace.is_measured:
            return None
        whole_s = {stage: self._expected_s(stage, denoising_s) for stage in STAGES}
        passed_s = time.monotonic() - self._fraction_at if running else 0.0
        here_s = max(0.0, whole_s[self.stage] * (1 - self._fraction) - passed_s)
        later = STAGES[STAGES.index(self.stage) + 1 :]
        stages = [(self.stage, here_s), *((stage, whole_s[stage]) for stage in later)]
        return sum(seconds for stage, seconds in stages if not (on_ranks and stage == "store"))

    def _measured_denoising_s(self) -> float | None:
        """Return the seconds of the whole stage `denoise` by the steps of this attempt after its first; None before."""
        if self.stage != "denoise" or self._first_step is None or self._fraction <= self._first_step[0]:
            return None
        fraction, at = self._first_step
        return (self._fraction_at - at) / (self._fraction - fraction)

    def _expected_s(self, stage: Stage, denoising_s: float | None) -> float:
        """Return the seconds of a whole stage; `denoising_s` are those of `denoise` as this attempt has measured it."""
        if denoising_s is not None and stage == "denoise":
            return denoising_s
        if denoising_s is not None and not self._pace.is_measured:
            own, guess = (guessed_s(each, self._job, self._pixels) for each in ("denoise", stage))
            return denoising_s * guess / own
        return self._pace.expected_s(stage, self._job, self._pixels)

    def stillness_limit_s(self, floor_s: float, cap_s: float) -> float:
        """Return after how many seconds without movement the ranks count as hanging at the current stage.

        That is `LIMIT_TIMES` the longest measured time of such work, but at least `floor_s` and at most `cap_s`, or
        `cap_s` for work that was never measured.
        """
        longest_s = self._pace.longest_s((self.stage, *self._shape))
        return cap_s if longest_s is None else min(cap_s, max(floor_s, LIMIT_TIMES * longest_s))

    def end_last_stage(self) -> None:
        """Put the time of the current stage, which ends the job, into the pace. `value` stays."""
        self._record_stage(time.monotonic())

    def _record_stage(self, now: float) -> None:
        """Estimate the time of the whole stage, ended at `now`, from the part that this attempt has done; note it."""
        if self._entered_at < 1:
            seconds = (now - self._began) / (1 - self._entered_at)
            self._pace.record_stage_time(self.stage, self._job, self._pixels, seconds)


def rounded_s(seconds: float | None) -> float | None:
    """Return the seconds as events and heartbeats say them; None stays."""
    return None if seconds is None else round(min(seconds, SECONDS_MAX), SECONDS_DIGITS)
