"""Holds a whole Wan2.1-14B on one card, as many layers as fit: `python -m ops.bench.gpu.whole card|dry`.

All components have their true sizes, and weights from a generator. One job passes through every phase of the worker;
the memory that it takes of the card is set against the estimate of `contracts.memory`.
"""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

import torch
from msgspec.structs import replace

from contracts.memory import PHASES, SPATIAL_STRIDE, Holding, Phase, Work, estimate
from contracts.model_shape import LATENT_CHANNELS, TEXT_TOKENS, WAN_14B, ModelShape
from inference.ranks import device
from inference.wan.kernels import set_attention_backend
from inference.wan.load import Wan
from inference.wan.parallel.mesh import ALONE
from inference.wan.residual import large_type
from ops.bench import flops
from ops.bench.clock import now
from ops.bench.gpu.finding import Fact, write
from ops.bench.gpu.peaks import peak_of
from ops.bench.gpu.room import ONE_CARD, WORK, layers_that_fit
from ops.bench.memory import forget_peak, peak_bytes
from ops.bench.phases import phases
from ops.bench.report.row import Aim, Row, Series
from ops.bench.weights import SHAPES, drawn_whole

PART = "whole"
DRY_WORK = Work(width=64, height=48, num_frames=5)
WARM_UP = Work(width=64, height=48, num_frames=5)
PASSES = 2
STEPS = 40
NEAR = Aim("≤", 1.05)
"""The estimate may be below the memory that is taken by so much: it is what jobs are refused by."""


OnPhase = Callable[[Phase, int, float], None]


class CardMeter:
    """Reads a card's memory between phases, in place of a count of storages; the meter of `phases` for one job.

    Calls `on_phase` with each phase that is done, its peak in bytes and its seconds: what is known is written even if a
    later phase fails.
    """

    def __init__(self, here: torch.device, on_phase: OnPhase) -> None:
        self._here, self._on_phase = here, on_phase
        self._before = iter((None, *PHASES[:-1], None))
        """The phase that is done at each reading: none at the first, and none at the last, before decoding."""
        self._mark_s = 0.0

    @contextmanager
    def counting(self) -> Generator[None]:
        """Count what is made and freed: a card's allocator always does."""
        yield

    def forget_peak(self) -> int:
        """Return the peak in bytes, and set it to what is held now, once the card has done its work."""
        return self._read(next(self._before))

    def decoded(self) -> None:
        """Take note that the last phase is done."""
        self._read("decode")

    @property
    def peak(self) -> int:
        """The most bytes since `forget_peak`."""
        return peak_bytes(self._here)

    def _read(self, phase: Phase | None) -> int:
        """Read peak and clock at the end of a phase, and begin anew."""
        mark_s, peak = now(self._here), peak_bytes(self._here)
        if phase is not None:
            self._on_phase(phase, peak, mark_s - self._mark_s)
        self._mark_s = mark_s
        forget_peak(self._here)
        return peak


def main(mode: str) -> None:
    """Write rows of memory and seconds of each phase, and the operations of a step; `dry` takes a tiny model."""
    here = device.choose(0)
    work, shape = (DRY_WORK, SHAPES["tiny"].model) if mode == "dry" else (WORK, WAN_14B)
    holding = Holding(ranks=1, large_bytes=large_type(here.type).itemsize)
    room = sys.maxsize if here.type == "cpu" else torch.get_device_module(here).mem_get_info()[0]
    layers = layers_that_fit(shape, work, holding, room)
    size = f"{work.width}*{work.height} x {work.num_frames}"
    write(Fact(part=PART, what=f"layers of {shape.layers} that fit at {size}", found=str(layers), good=layers > 0))
    if not layers:
        return
    shape = replace(shape, layers=layers)
    began = now(here)
    wan = drawn_whole(shape, here)
    _write_seconds("weights drawn", now(here) - began)
    write(Fact(part=PART, what="attention", found=set_attention_backend(wan, None)))
    estimated = estimate(shape, work, ONE_CARD, holding)

    def on_phase(phase: Phase, peak: int, seconds: float) -> None:
        over, under = Series(f"{phase} took", [float(peak)]), Series("estimate", [float(getattr(estimated, phase))])
        write(Row(part=PART, what=f"{size}, {layers} layers", unit="bytes", over=over, under=under, aim=NEAR))
        if phase == "denoise":
            _write_step(wan, shape, work, seconds)
        elif phase != "weights":
            _write_seconds(phase, seconds)

    with torch.inference_mode():
        phases(wan, WARM_UP, ONE_CARD, ALONE, CardMeter(here, lambda _phase, _peak, _seconds: None))
        wan.prompt_cache.clear()
        meter = CardMeter(here, on_phase)
        phases(wan, work, ONE_CARD, ALONE, meter)
        meter.decoded()


def _write_step(wan: Wan, shape: ModelShape, work: Work, step_s: float) -> None:
    """Write the seconds of a guided step, its operations a second against the card's peak, and the length of a job."""
    latents = torch.Size((1, LATENT_CHANNELS, work.latent_frames, work.latent_rows, work.width // SPATIAL_STRIDE))
    operations = PASSES * flops.of_a_pass(wan.transformer.config, latents, TEXT_TOKENS, shape.image_tokens)
    reached = Series("ours", [operations / step_s / flops.TERA])
    peak = peak_of(torch.cuda.get_device_name(wan.device)) if wan.device.type == "cuda" else None
    top = None if peak is None else Series("peak", [peak.bf16_tflops])
    _write_seconds(f"a guided step, {shape.layers} layers", step_s)
    write(Row(part=PART, what=f"operations, {shape.layers} layers", unit="TFLOP/s", over=reached, under=top))
    minutes = STEPS * step_s * WAN_14B.layers / shape.layers / 60
    what = f"{STEPS} guided steps of {WAN_14B.layers} layers, by this step"
    write(Row(part=PART, what=what, unit="min", over=Series("ours", [minutes])))


def _write_seconds(what: str, seconds: float) -> None:
    """Write a row of seconds."""
    write(Row(part=PART, what=what, unit="s", over=Series("ours", [seconds])))


if __name__ == "__main__":
    main(sys.argv[1])
