"""Measures a denoising step on one accelerator at real sizes: seconds, peak memory and TFLOP/s.

Sides: the stock pipeline, and ours plain, compiled, with FP8 linear layers, with the attention cache. `worker` calls
`measure`. The weights are drawn at random, and the first step of a run does not count.
"""

import statistics
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch
from msgspec.structs import replace
from torch._dynamo import config

from contracts.job import Job, parse_size, shift_of
from inference.ranks import device
from inference.wan.attention_cache import cache_rule_for
from inference.wan.encode import TEXT_TOKENS
from inference.wan.generate import denoise, encode
from inference.wan.kernels import compile_blocks, set_attention_backend
from inference.wan.load import Wan
from ops.bench import flops
from ops.bench.clock import now
from ops.bench.memory import forget_peak, held_bytes, peak_bytes
from ops.bench.picture import picture
from ops.bench.report.row import Aim, Row, Series
from ops.bench.setup import PROMPT, Setup
from ops.bench.stock import Stock
from ops.bench.turns import by_turns
from ops.bench.weights import drawn, shape_of

STOCK = "stock"
AIMS = {"compile": Aim("≥", 1.3), "compile+cache": Aim("≥", 2.0), "compile+fp8+cache": Aim("≥", 2.0)}
OF_THE_PEAK = Aim("≥", 0.6)
CACHED_STEPS = 40  # the default rule over so many steps gives the weights of computing and of reusing steps

RECOMPILATIONS_MAX = 64  # torch's own limit is for one variant in a process

OnStep = Callable[[int], None]


def measure(setup: Setup) -> Iterator[Row]:
    """Yield the rows of every variant against the stock pipeline, measured by turns.

    Lifts torch's limit of recompilations for the rest of the process.
    """
    here = device.choose(0)
    config.recompile_limit = RECOMPILATIONS_MAX
    peak_tflops = flops.matrix_tflops(here)
    card = Card(setup, here)
    names = (STOCK, *setup.variants)
    for name in names:
        card.warm_up(name)
    took = by_turns({name: partial(card.take, name) for name in names}, setup.count)
    step_s = {name: Series(name, [one.step_s for one in took[name]]) for name in names}
    memory = {name: Series(name, [one.peak_bytes for one in took[name]]) for name in names}
    step_flops = card.pass_flops * (2 if setup.job.guided else 1)
    for name in setup.variants:
        yield Row(part="card", what="a step", unit="s", over=step_s[STOCK], under=step_s[name], aim=AIMS.get(name))
        yield Row(part="card", what="peak memory", unit="bytes", over=memory[name], under=memory[STOCK])
    for name in names:
        if "cache" not in name:  # the cache skips operations, so TFLOP/s would be too high
            reached = Series(name, [step_flops / seconds / flops.TERA for seconds in step_s[name].samples])
            product = Series("matrix product", [peak_tflops] * setup.count)
            aim = OF_THE_PEAK if name == "compile" else None
            yield Row(part="card", what="operations", unit="TFLOP/s", over=reached, under=product, aim=aim)


class Took(NamedTuple):
    """Averages over the measured steps; `peak_bytes` counts only this side's own weights among those there."""

    step_s: float
    peak_bytes: float


class Card:
    """The model on one accelerator: the drawn weights, and a copy with FP8 linear layers if a variant needs that."""

    def __init__(self, setup: Setup, here: torch.device) -> None:
        self._setup, self._here = setup, here
        self._image = picture(*parse_size(setup.size))
        self._plain = self._ready(drawn(shape_of(setup), here))
        self._rounded: Wan | None = None
        if any("fp8" in variant for variant in setup.variants):
            self._rounded = self._ready(drawn(shape_of(setup), here, fp8_linear=True))
        with torch.inference_mode():
            self._conditions = encode(self._plain, setup.job, self._image)
        self._stock = Stock(self._plain, shift_of(setup.job, setup.size))

    @property
    def pass_flops(self) -> int:
        """Return the floating-point operations of one pass through the transformer."""
        shape, picture_tokens = self._conditions.first_frame_BCTHW.shape, self._conditions.image_BLD.shape[1]
        return flops.of_a_pass(self._plain.transformer.config, shape, TEXT_TOKENS, picture_tokens)

    def warm_up(self, variant: str) -> None:
        """Run enough steps to compile everything: with the cache the first three steps differ, so three are run."""
        self._run(variant, 3 if "cache" in variant else 1)

    def take(self, variant: str) -> Took:
        """Return the mean seconds of a step, and the peak memory, of one run of a variant."""
        steps_s, most = self._run(variant, self._setup.steps)
        return Took(_weighed(steps_s) if "cache" in variant else statistics.fmean(steps_s), most)

    def _run(self, variant: str, steps: int) -> tuple[list[float], float]:
        """Return the seconds of each step but the first of one run, and the peak memory of those steps in bytes."""
        setup = replace(self._setup, steps=steps)
        if variant == STOCK:
            return self._run_stock(setup.job)
        wan = self._rounded if "fp8" in variant and self._rounded is not None else self._plain
        job = setup.cached_job if "cache" in variant else setup.job

        def run(on_step: OnStep) -> None:
            with torch.inference_mode():
                denoise(wan, job, self._conditions, lambda _stage, step: on_step(step))

        with torch.compiler.set_stance("default" if "compile" in variant else "force_eager"):
            return self._watched(wan, run)

    def _run_stock(self, job: Job) -> tuple[list[float], float]:
        """Return the same as `_run`, of the stock pipeline up to the latents, with its own attention backend.

        Ours is set again afterwards.
        """
        self._plain.transformer.reset_attention_backend()
        with torch.compiler.set_stance("force_eager"):
            measured = self._watched(self._plain, lambda on_step: self._stock.run(job, self._image, on_step, "latent"))
        set_attention_backend(self._plain, None)
        return measured

    def _watched(self, wan: Wan, run: Callable[[OnStep], object]) -> tuple[list[float], float]:
        """Return the seconds of each step but the first, and the peak memory of those steps in bytes.

        The transformer's weights of `wan` count, other weights on the device do not. `run` calls its argument after
        each step.
        """
        marks: list[float] = []

        def on_step(_step: int) -> None:
            marks.append(now(self._here))
            if len(marks) == 1:
                forget_peak(self._here)

        weights = sum(parameter.nbytes for parameter in wan.transformer.parameters())
        others = held_bytes(self._here) - weights
        run(on_step)
        return [end - begin for begin, end in pairwise(marks)], max(weights, peak_bytes(self._here) - others)

    def _ready(self, wan: Wan) -> Wan:
        """Choose the attention backend of the model and have its blocks compiled; return the same model."""
        set_attention_backend(wan, None)
        # Inductor's code is for accelerators: on a CPU only the tracing is tried.
        compile_blocks(wan.transformer, "eager" if wan.device.type == "cpu" else "inductor")
        return wan


def _weighed(steps_s: list[float]) -> float:
    """Return the mean seconds of a step of a whole job with the cache.

    `steps_s` are of a run in which only the last step computes attention; the default rule weighs the two kinds.
    """
    *reusing_s, computing_s = steps_s
    rule = cache_rule_for(Job(prompt=PROMPT, num_frames=81, seed=0, infer_steps=CACHED_STEPS, use_attentioncache=True))
    assert rule is not None
    reused = sum(map(rule.reuses, range(CACHED_STEPS))) / CACHED_STEPS
    return reused * statistics.fmean(reusing_s) + (1 - reused) * computing_s
