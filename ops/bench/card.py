"""One card at real sizes: a step of the stock pipeline and of ours, compiled, in 8 bits, cached. Writes no checkpoint.

The first step of a run does not count.
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
from inference.wan.attention_cache import rule_for
from inference.wan.encode import TEXT_TOKENS
from inference.wan.generate import denoise, encode
from inference.wan.kernels import compile_blocks, set_attention_backend
from inference.wan.load import Wan
from ops.bench import flops
from ops.bench.memory import forget_peak, held_bytes, peak_bytes
from ops.bench.picture import picture
from ops.bench.row import Aim, Row, Series
from ops.bench.setup import PROMPT, Setup
from ops.bench.stock import Stock
from ops.bench.turns import by_turns, now
from ops.bench.weights import SHAPES, drawn

STOCK = "stock"
AIMS = {"compile": Aim("≥", 1.3), "compile+cache": Aim("≥", 2.0), "compile+fp8+cache": Aim("≥", 2.0)}
OF_THE_PEAK = Aim("≥", 0.6)
CACHED_STEPS = 40  # by the default rule over so many, steps that compute and steps that reuse are weighed

RECOMPILATIONS_MAX = 64  # torch's own limit is for one variant in a process

OnStep = Callable[[int], None]


def measure(setup: Setup) -> Iterator[Row]:
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
        if "cache" not in name:  # which leaves out some of the operations
            reached = Series(name, [step_flops / seconds / flops.TERA for seconds in step_s[name].samples])
            product = Series("matrix product", [peak_tflops] * setup.count)
            aim = OF_THE_PEAK if name == "compile" else None
            yield Row(part="card", what="operations", unit="TFLOP/s", over=reached, under=product, aim=aim)


class Took(NamedTuple):
    """`peak_bytes` is with the weights of this side alone on the card."""

    step_s: float
    peak_bytes: float


class Card:
    """The weights, and for variants with `fp8` those rounded to 8 bits beside them."""

    def __init__(self, setup: Setup, here: torch.device) -> None:
        self._setup, self._here = setup, here
        self._image = picture(*parse_size(setup.size))
        self._plain = self._ready(drawn(SHAPES[setup.shape], here))
        self._rounded: Wan | None = None
        if any("fp8" in variant for variant in setup.variants):
            self._rounded = self._ready(drawn(SHAPES[setup.shape], here, fp8_linear=True))
        with torch.inference_mode():
            self._given = encode(self._plain, setup.job, self._image)
        self._stock = Stock(self._plain, shift_of(setup.job, setup.size))

    @property
    def pass_flops(self) -> int:
        shape, picture_tokens = self._given.first_frame_BCTHW.shape, self._given.image_BLD.shape[1]
        return flops.of_a_pass(self._plain.transformer.config, shape, TEXT_TOKENS, picture_tokens)

    def warm_up(self, variant: str) -> None:
        """As many steps as it takes to have everything compiled: with the cache each step of three is different."""
        self._run(variant, 3 if "cache" in variant else 1)

    def take(self, variant: str) -> Took:
        steps_s, most = self._run(variant, self._setup.steps)
        return Took(_weighed(steps_s) if "cache" in variant else statistics.fmean(steps_s), most)

    def _run(self, variant: str, steps: int) -> tuple[list[float], float]:
        setup = replace(self._setup, steps=steps)
        if variant == STOCK:
            return self._run_stock(setup.job)
        wan = self._rounded if "fp8" in variant and self._rounded is not None else self._plain
        job = setup.cached_job if "cache" in variant else setup.job

        def run(on_step: OnStep) -> None:
            with torch.inference_mode():
                denoise(wan, job, self._given, lambda _stage, step: on_step(step))

        with torch.compiler.set_stance("default" if "compile" in variant else "force_eager"):
            return self._watched(wan, run)

    def _run_stock(self, job: Job) -> tuple[list[float], float]:
        self._plain.transformer.reset_attention_backend()
        with torch.compiler.set_stance("force_eager"):
            told = self._watched(self._plain, lambda on_step: self._stock.run(job, self._image, on_step, "latent"))
        set_attention_backend(self._plain, None)
        return told

    def _watched(self, wan: Wan, run: Callable[[OnStep], object]) -> tuple[list[float], float]:
        """Seconds of each step but the first, and the most memory meanwhile."""
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
        set_attention_backend(wan, None)
        # The compiler's code is for cards: on a CPU only its tracing is tried.
        compile_blocks(wan.transformer, "eager" if wan.device.type == "cpu" else "inductor")
        return wan


def _weighed(steps_s: list[float]) -> float:
    """A step of a whole job with the cache, from a run of which the last step alone computes."""
    *reusing_s, computing_s = steps_s
    rule = rule_for(Job(prompt=PROMPT, num_frames=81, seed=0, infer_steps=CACHED_STEPS, use_attentioncache=True))
    assert rule is not None
    reused = sum(map(rule.reuses, range(CACHED_STEPS))) / CACHED_STEPS
    return reused * statistics.fmean(reusing_s) + (1 - reused) * computing_s
