"""How far a job is, as a number: steps done and stages, weighted by the time that they were measured to take. Pure."""

import time

from contracts.events import STAGES, Stage
from contracts.job import Job

BEFORE_THE_END = 0.99  # 1.0 is for a job whose video can be read

# Seconds per pixel of video (per pixel and forward pass when denoising), until a first job has been measured:
# the pocket model on two cores. Only the ratios matter.
FIRST_GUESS_S: dict[Stage, float] = {"encode": 1.8e-6, "denoise": 1.1e-7, "decode": 3.3e-6, "store": 2.0e-7}


class Pace:
    """What a cluster has learnt of its own speed; one for its life."""

    def __init__(self) -> None:
        self._seconds_per_unit = dict(FIRST_GUESS_S)

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

    def __init__(self, pace: Pace, job: Job, *, width: int, height: int) -> None:
        self._pace, self._job = pace, job
        self._pixels = width * height * job.num_frames
        expected_s = {stage: pace.expected_s(stage, job, self._pixels) for stage in STAGES}
        whole_s = sum(expected_s.values())
        self._share = {stage: seconds / whole_s for stage, seconds in expected_s.items()}
        self._began = time.monotonic()
        self.stage: Stage = STAGES[0]
        self.value = 0.0
        self.moved = self._began
        """When it last moved, on the monotonic clock."""

    def begin(self) -> None:
        """The attempt has waited until now, and moves from here on."""
        self._began = self.moved = time.monotonic()

    def at(self, stage: Stage, fraction: float) -> float:
        """The value at this much (0 to 1) of a stage; entering a stage teaches how long the one before took."""
        self.moved = time.monotonic()
        if stage != self.stage:
            self._pace.learn(self.stage, self._job, self._pixels, self.moved - self._began)
            self.stage, self._began = stage, self.moved
        before = sum(self._share[earlier] for earlier in STAGES[: STAGES.index(stage)])
        self.value = max(self.value, min(BEFORE_THE_END, before + self._share[stage] * fraction))
        return self.value

    def end(self) -> None:
        """The last stage is done: learn how long it took."""
        self._pace.learn(self.stage, self._job, self._pixels, time.monotonic() - self._began)
