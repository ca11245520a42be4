"""How far a job is, as a number: steps done and stages, weighted by the time that they were measured to take. Pure."""

import time
from collections.abc import Hashable

from contracts.events import STAGES, Stage
from contracts.job import Job

BEFORE_THE_END = 0.99  # 1.0 is for a job whose video can be read

# Seconds per pixel of video (per pixel and forward pass when denoising), until a first job has been measured:
# the pocket model on two cores. Only the ratios matter.
FIRST_GUESS_S: dict[Stage, float] = {"encode": 1.8e-6, "denoise": 1.1e-7, "decode": 3.3e-6, "store": 2.0e-7}


LIMIT_TIMES = 10.0
"""How much longer than ever before a stage or step may take."""
WORKS_MAX = 256

Work = tuple[Hashable, ...]
"""What makes a stage or step take as long as another one: stage, sides, frames, passes, and how the ranks share it."""


class Pace:
    """What a cluster has learnt of its own speed; one for its life."""

    def __init__(self) -> None:
        self._seconds_per_unit = dict(FIRST_GUESS_S)
        self._longest_s: dict[Work, float] = {}

    def took(self, work: Work, seconds: float) -> None:
        """A stage, or a step of one, has taken so long from one sign of life to the next."""
        self._longest_s[work] = max(seconds, self._longest_s.pop(work, 0.0))
        while len(self._longest_s) > WORKS_MAX:
            del self._longest_s[next(iter(self._longest_s))]

    def longest_s(self, work: Work) -> float | None:
        """The longest that such work has taken; None where there was none. A first time may compile for minutes."""
        return self._longest_s.get(work)

    def expected_s(self, stage: Stage, job: Job, pixels: int) -> float:
        return self._seconds_per_unit[stage] * _units(stage, job, pixels)

    def learn(self, stage: Stage, job: Job, pixels: int, seconds: float) -> None:
        self._seconds_per_unit[stage] = seconds / _units(stage, job, pixels)


def _units(stage: Stage, job: Job, pixels: int) -> float:
    if stage != "denoise":
        return pixels
    passes = 2 if job.guided else 1
    return pixels * job.infer_steps * passes


class Progress:
    """One attempt at one job: fed with its boundaries, it tells how far the attempt is and never falls."""

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
        """Which fraction of the stage was done when this attempt came to it."""
        self.value = 0.0
        self.moved = self._began
        """When it last moved, on the monotonic clock."""

    def resume(self, stage: Stage, fraction: float) -> None:
        """The attempt goes on from here."""
        self.stage, self._entered_at = stage, fraction
        self.at(stage, fraction)

    def begin(self) -> None:
        """The attempt has waited until now, and moves from here on."""
        self._began = self.moved = time.monotonic()

    def at(self, stage: Stage, fraction: float) -> float:
        """The value at this much (0 to 1) of a stage; entering a stage teaches how long the one before took."""
        now = time.monotonic()
        if stage != self.stage or fraction > self._entered_at:  # not where it only begins or goes on
            self._pace.took((self.stage, *self._shape), now - self.moved)
        self.moved = now
        if stage != self.stage:
            self._learn(self.moved)
            self.stage, self._began, self._entered_at = stage, self.moved, 0.0
        before = sum(self._share[earlier] for earlier in STAGES[: STAGES.index(stage)])
        self.value = max(self.value, min(BEFORE_THE_END, before + self._share[stage] * fraction))
        return self.value

    def limit_s(self, floor_s: float, cap_s: float) -> float:
        """How long it may stay where it is before something is wrong: what was measured, many times over."""
        longest_s = self._pace.longest_s((self.stage, *self._shape))
        return cap_s if longest_s is None else min(cap_s, max(floor_s, LIMIT_TIMES * longest_s))

    def end(self) -> None:
        """The last stage is done: learn how long it took."""
        self._learn(time.monotonic())

    def _learn(self, now: float) -> None:
        """How long all of the stage takes, from the part of it that this attempt has done."""
        if self._entered_at < 1:
            seconds = (now - self._began) / (1 - self._entered_at)
            self._pace.learn(self.stage, self._job, self._pixels, seconds)
