"""Compute a job's progress as a number: its stages and steps, weighted by the time that they were measured to take.

Each `Attempt` has a `Progress`, fed with its boundaries; all share the cluster's `Pace`. The same times say how long a
stage may take before the ranks count as hanging.
"""

import time
from collections.abc import Hashable

from contracts.events import STAGES, Stage
from contracts.job import Job
from contracts.recent import Recent

BEFORE_THE_END = 0.99  # 1.0 is for a job whose video can be read

# Seconds per pixel of video (per pixel and forward pass when denoising), until a first job has been measured:
# the pocket model on two cores. Only the ratios matter.
FIRST_GUESS_S: dict[Stage, float] = {"encode": 1.8e-6, "denoise": 1.1e-7, "decode": 3.3e-6, "store": 2.0e-7}

LIMIT_TIMES = 10.0
"""How many times its longest measured time a stage or step may take."""
WORKS_MAX = 256

Work = tuple[Hashable, ...]
"""All that the time of a stage or step depends on: stage, sides, frames, passes, and how the ranks share the job."""


class Pace:
    """The measured speed of a cluster; one for the life of the process."""

    def __init__(self) -> None:
        self._seconds_per_unit = dict(FIRST_GUESS_S)
        self._longest_s = Recent[Work, float](WORKS_MAX)

    def record_work_time(self, work: Work, seconds: float) -> None:
        """Note the seconds that a stage, or a step of it, took from one boundary to the next, for `longest_s`.

        Past `WORKS_MAX` works, the one whose last time is the oldest is forgotten.
        """
        self._longest_s[work] = max(seconds, self._longest_s.get(work, 0.0))

    def longest_s(self, work: Work) -> float | None:
        """Return the seconds of the slowest such work, or None if none is known. The first may compile for minutes."""
        return self._longest_s.get(work)

    def expected_s(self, stage: Stage, job: Job, pixels: int) -> float:
        """Return the seconds that the whole stage is expected to take; `pixels` are those of all frames together."""
        return self._seconds_per_unit[stage] * _units(stage, job, pixels)

    def record_stage_time(self, stage: Stage, job: Job, pixels: int, seconds: float) -> None:
        """Note the seconds that the whole stage took; `expected_s` goes by the last ones noted for a stage."""
        self._seconds_per_unit[stage] = seconds / _units(stage, job, pixels)


def _units(stage: Stage, job: Job, pixels: int) -> float:
    """Return the number to which a stage's time is proportional: pixels, in `denoise` times forward passes."""
    if stage != "denoise":
        return pixels
    passes = 2 if job.guided else 1
    return pixels * job.infer_steps * passes


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
        self.value = 0.0
        self.moved = self._began
        """When the attempt last moved, on the monotonic clock."""

    def resume(self, stage: Stage, fraction: float) -> None:
        """Set where the attempt goes on from: a fraction (0 to 1) of a stage. Call it before anything else."""
        self.stage, self._entered_at = stage, fraction
        self.advance_to(stage, fraction)

    def start_clock(self) -> None:
        """Start the time of the current stage anew, because the attempt has waited for the ranks until now."""
        self._began = self.moved = time.monotonic()

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
        before = sum(self._share[earlier] for earlier in STAGES[: STAGES.index(stage)])
        self.value = max(self.value, min(BEFORE_THE_END, before + self._share[stage] * fraction))
        return self.value

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
