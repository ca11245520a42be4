"""The stages of a job's making: their names, how long they took, and the paces by which to expect how long they take.

Rank 0 measures paces, and its heartbeat carries them to the edge, which estimates with them when a waiting job is done.
Pure.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

from msgspec import Meta, Struct

from contracts.bounds import FRAMES_MAX, SIDE_PIXELS_MAX, Seconds
from contracts.job import Job

Stage = Literal["encode", "denoise", "decode", "store"]
STAGES: tuple[Stage, ...] = ("encode", "denoise", "decode", "store")
PACES_MAX = 8
"""For how many numbers of pixels a cluster says its pace."""
Pixels = Annotated[int, Meta(ge=1, le=SIDE_PIXELS_MAX**2 * FRAMES_MAX)]
SECONDS_PER_UNIT_MAX = 1.0
SecondsPerUnit = Annotated[float, Meta(ge=0.0, le=SECONDS_PER_UNIT_MAX)]


class Timings(Struct, frozen=True, kw_only=True):
    """Seconds that each part of an attempt took, without the time spent waiting for the ranks.

    `load` reads the job and its picture, `mux` writes the mp4, `store` makes the mp4 the job's file. If the attempt
    resumed from a checkpoint, `encode` is 0 and `denoise` covers the steps that were left.
    """

    load: Seconds
    encode: Seconds
    denoise: Seconds
    decode: Seconds
    mux: Seconds
    store: Seconds

    @property
    def whole_s(self) -> float:
        """Return the seconds of all parts together."""
        return self.load + self.encode + self.denoise + self.decode + self.mux + self.store


class MeasuredPace(Struct, frozen=True, kw_only=True):
    """The seconds that a cluster takes for a unit of each stage, measured at videos of `pixels` pixels in all frames.

    A unit is a pixel of the video, and in `denoise` one in one forward pass.
    """

    pixels: Pixels
    encode: SecondsPerUnit
    denoise: SecondsPerUnit
    decode: SecondsPerUnit
    store: SecondsPerUnit


class Expected(NamedTuple):
    """The seconds that a job is expected to take: on the ranks, and afterwards, while they work on the next one."""

    on_ranks_s: float
    afterwards_s: float


def units(stage: Stage, job: Job, pixels: int) -> float:
    """Return the number to which a stage's time is proportional; `pixels` are those of all frames together."""
    if stage != "denoise":
        return pixels
    return pixels * job.infer_steps * (2 if job.guided else 1)


def expected(paces: Sequence[MeasuredPace], job: Job, pixels: int) -> Expected | None:
    """Return how long a job takes by the pace at the nearest number of pixels; None without paces."""
    if not paces:
        return None
    pace = min(paces, key=lambda pace: distance(pace.pixels, pixels))
    encode, denoise, decode, store = (getattr(pace, stage) * units(stage, job, pixels) for stage in STAGES)
    return Expected(encode + denoise + decode, store)


def distance(pixels: int, other: int) -> float:
    """Return how unlike two numbers of pixels are, by their ratio: 0 for equal ones."""
    return abs(math.log(pixels / other))
