"""Measure the speed of a cluster: how long its stages take, for progress, `eta_seconds` and the limit of stillness.

`Leader` makes one `Pace` for the life of the process; the `Progress` of every attempt records into it and asks it.
"""

from collections.abc import Hashable

from contracts.job import Job
from contracts.recent import Recent
from contracts.stage_times import PACES_MAX, SECONDS_PER_UNIT_MAX, STAGES, MeasuredPace, Stage, distance, units

# Seconds per pixel of video (per pixel and forward pass when denoising), until a first job has been measured:
# the pocket model on two cores. Only the ratios matter.
FIRST_GUESS_S: dict[Stage, float] = {"encode": 1.8e-6, "denoise": 1.1e-7, "decode": 3.3e-6, "store": 2.0e-7}
LATEST_WEIGHT = 0.5
"""The weight of the latest measurement in the average (EMA): the first job of a process is slow, and machines vary."""
WORKS_MAX = 256

Work = tuple[Hashable, ...]
"""All that the time of a stage or step depends on: stage, sides, frames, passes, and how the ranks share the job."""


class Pace:
    """The measured speed of a cluster; one for the life of the process.

    The time of a stage is proportional to its units among videos of like size alone: so it is kept for each of the last
    `PACES_MAX` numbers of pixels, and the nearest one counts.
    """

    def __init__(self) -> None:
        self._by_pixels = Recent[int, dict[Stage, float]](PACES_MAX)
        """Seconds per unit of each stage, by the pixels of all frames together."""
        self._longest_s = Recent[Work, float](WORKS_MAX)

    @property
    def is_measured(self) -> bool:
        """Return whether any stage was measured; until then `expected_s` is right in its ratios alone."""
        return bool(self._by_pixels)

    def record_work_time(self, work: Work, seconds: float) -> None:
        """Note the seconds that a stage, or a step of it, took from one boundary to the next, for `longest_s`.

        Past `WORKS_MAX` works, the one whose last time is the oldest is forgotten.
        """
        self._longest_s[work] = max(seconds, self._longest_s.get(work, 0.0))

    def longest_s(self, work: Work) -> float | None:
        """Return the seconds of the slowest such work, or None if none is known. The first may compile for minutes."""
        return self._longest_s.get(work)

    def record_stage_time(self, stage: Stage, job: Job, pixels: int, seconds: float) -> None:
        """Note the seconds that the whole stage took, for `expected_s`; `pixels` are those of all frames together."""
        here = self._by_pixels.get(pixels, {})
        latest = seconds / units(stage, job, pixels)
        average = here.get(stage, latest) * (1 - LATEST_WEIGHT) + latest * LATEST_WEIGHT
        self._by_pixels[pixels] = {**here, stage: average}

    def expected_s(self, stage: Stage, job: Job, pixels: int) -> float:
        """Return the seconds that the whole stage is expected to take.

        Of a stage that was never measured it is a guess, which is in proportion to the measured ones.
        """
        measured_s = self._measured_s(stage, job, pixels)
        if measured_s is not None:
            return measured_s
        known: list[tuple[Stage, float | None]] = [(each, self._measured_s(each, job, pixels)) for each in STAGES]
        scales = [seconds / guessed_s(each, job, pixels) for each, seconds in known if seconds is not None]
        return guessed_s(stage, job, pixels) * max(scales, default=1.0)

    def _measured_s(self, stage: Stage, job: Job, pixels: int) -> float | None:
        """Return the seconds of the whole stage by the nearest measurement; None if the stage was never measured."""
        near = [there for there, here in self._by_pixels.items() if stage in here]
        if not near:
            return None
        nearest = min(near, key=lambda there: distance(there, pixels))
        return self._by_pixels[nearest][stage] * units(stage, job, pixels)

    def measured(self) -> list[MeasuredPace]:
        """Return the paces for those numbers of pixels at which every stage was measured, for the heartbeat."""
        return [
            MeasuredPace(pixels=pixels, **{stage: min(each, SECONDS_PER_UNIT_MAX) for stage, each in here.items()})
            for pixels, here in self._by_pixels.items()
            if len(here) == len(STAGES)
        ]


def guessed_s(stage: Stage, job: Job, pixels: int) -> float:
    """Return the seconds that the whole stage would take the pocket model on two cores."""
    return FIRST_GUESS_S[stage] * units(stage, job, pixels)
