"""Measures our denoising loop against diffusers' pipeline, with the same weights, kernels and job.

`worker` calls `measure`. Measured are the seconds of a step and of a job up to the decoded video, and the peak memory.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from contracts.job import parse_size, shift_of
from contracts.stage_times import Stage
from inference.ranks import device
from inference.wan.generate import generate
from inference.wan.kernels import set_attention_backend
from ops.bench.clock import now
from ops.bench.memory import MEMORY_ROUNDS_MAX, peak_of
from ops.bench.picture import picture
from ops.bench.report.row import Aim, Row, Series
from ops.bench.setup import Setup
from ops.bench.stock import Stock
from ops.bench.turns import by_turns, say, warmed
from ops.bench.weights import drawn, shape_of

NO_DEARER = Aim("≤", 1.02)
SIDES = ("ours", "stock")


class Times(NamedTuple):
    """The mean seconds of a step but the first, and the seconds of a job up to the decoded video."""

    step_s: float
    job_s: float


def measure(setup: Setup) -> Iterator[Row]:
    """Yield the rows of ours against stock: a step, a job, peak memory."""
    here = device.choose(0)
    peaks: dict[str, list[float]] = {side: [] for side in SIDES}
    # Memory comes first, because a forked child also counts what its parent holds.
    for turn in range(min(setup.count, MEMORY_ROUNDS_MAX)):
        say(f"memory, round {turn + 1}")
        for side in SIDES:
            peaks[side].append(peak_of(lambda side=side: _sides(setup)[side](), here))
    jobs = by_turns(warmed(_sides(setup)), setup.count)
    step_s = {side: [times.step_s for times in jobs[side]] for side in SIDES}
    job_s = {side: [times.job_s for times in jobs[side]] for side in SIDES}
    yield _row("a step", "s", step_s, NO_DEARER)
    yield _row("a job up to the video", "s", job_s, NO_DEARER)
    yield _row("peak memory of a job", "bytes", peaks)


def _row(what: str, unit: str, by_side: dict[str, list[float]], aim: Aim | None = None) -> Row:
    """Return the row of ours over stock, from the samples of both sides."""
    ours, stock = (Series(side, by_side[side]) for side in SIDES)
    return Row(part="loop", what=what, unit=unit, over=ours, under=stock, aim=aim)


def _sides(setup: Setup) -> dict[str, Callable[[], Times]]:
    """Return a function for each side that runs one job and returns its times. Draws the model anew."""
    here = device.choose(0)
    wan = drawn(shape_of(setup), here)
    set_attention_backend(wan, None)
    job, image = setup.job, picture(*parse_size(setup.size))
    pipeline = Stock(wan, shift_of(job, setup.size))

    def timed(run: Callable[[Callable[[int], None]], object]) -> Times:
        """Return the times of one run; `run` calls its argument after each step."""
        marks: list[float] = []
        began = now(here)
        run(lambda _step: marks.append(now(here)))
        return Times((marks[-1] - marks[0]) / (len(marks) - 1), now(here) - began)

    def ours(on_step: Callable[[int], None]) -> None:
        """Run the job with an empty prompt cache, up to the decoded video."""

        def boundary(stage: Stage, step: int) -> None:
            if stage == "denoise" and step > 0:
                on_step(step)

        wan.prompt_cache.clear()  # the pipeline remembers no prompts
        generate(wan, job, image, boundary)

    return {"ours": lambda: timed(ours), "stock": lambda: timed(lambda on_step: pipeline.run(job, image, on_step))}
