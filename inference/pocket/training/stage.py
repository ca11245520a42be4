"""A stage of training: optimiser, learning rate, EMA of the weights, and a training checkpoint to resume from.

The checkpoint is one safetensors file per stage, replaced atomically: weights, their EMA, the optimiser's moments and
the losses. Random numbers are seeded with the number of the step, so no generator state is stored.
"""

import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from msgspec import Struct
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from inference.pocket.files import write_whole

SAVE_EVERY_S = 120.0
SHOW_EVERY_STEPS = 25
WARM_UP_STEPS = 30
FINAL_RATE_SHARE = 0.05
BETAS = (0.9, 0.99)
GRADIENT_NORM_MAX = 1.0


StepLoss = Callable[[int, torch.Generator], torch.Tensor]
"""Computes the loss of the step with this number, with random numbers from this generator alone."""


class Schedule(Struct, frozen=True):
    """Hyper-parameters of a stage: number of steps, peak learning rate, decay of the EMA, weight decay."""

    steps: int
    rate: float
    ema_decay: float = 0.995
    weight_decay: float = 0.0


class Stage:
    """A module in training, at some step of its schedule, with its file in the state folder.

    Resumes from the file if it exists; lives until its run has stopped.
    """

    def __init__(self, name: str, folder: Path, module: nn.Module, schedule: Schedule) -> None:
        self.name, self.module, self.schedule = name, module, schedule
        self.file = folder / f"{name}.safetensors"
        self.step = 0
        self.seconds = 0.0
        self.losses: list[float] = []
        self._unread: list[torch.Tensor] = []
        self._trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self._ema = {name: p.detach().clone() for name, p in self._trained.items()}
        self._optimiser = torch.optim.AdamW(
            self._trained.values(), schedule.rate, betas=BETAS, weight_decay=schedule.weight_decay
        )
        if self.file.exists():
            self._restore()

    def run(self, loss_of: StepLoss, show: Callable[[str], None], stopped: Callable[[], bool]) -> None:
        """Train until the schedule's end or until `stopped()`; save every `SAVE_EVERY_S` and at the end.

        `show` is given a line of progress every `SHOW_EVERY_STEPS`. Raises ArithmeticError if a loss or gradient is not
        finite: the file then holds the state of the last save.
        """
        saved = began = time.monotonic()
        before, steps = self.seconds, self.schedule.steps
        while self.step < steps and not stopped():
            self._advance(loss_of)
            self.seconds = before + time.monotonic() - began
            if self.step % SHOW_EVERY_STEPS == 0 or self.step == steps:
                self._read_losses()
                recent = self.losses[-SHOW_EVERY_STEPS:]
                show(f"{self.name} {self.step}/{steps} loss {sum(recent) / len(recent):.5f} {self.seconds:.0f} s")
            if time.monotonic() - saved > SAVE_EVERY_S:
                self._read_losses()
                self.save()
                saved = time.monotonic()
        if self.seconds > before:
            self._read_losses()
            self.save()

    def _advance(self, loss_of: StepLoss) -> None:
        """Train one step: seed, loss, gradient clipping, optimiser, EMA."""
        rng = torch.Generator().manual_seed(self.step)
        for group in self._optimiser.param_groups:
            group["lr"] = self._learning_rate()
        loss = loss_of(self.step, rng)
        self._optimiser.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self._trained.values(), GRADIENT_NORM_MAX)
        self._optimiser.step()
        self.step += 1
        self._unread.append(torch.stack([loss.detach(), norm]))
        # A smaller decay at first, so that the EMA soon forgets the initial weights.
        decay = min(self.schedule.ema_decay, self.step / (self.step + 10))
        with torch.no_grad():
            # One call for all parameters, as in `torch.optim.swa_utils`.
            torch._foreach_lerp_(list(self._ema.values()), list(self._trained.values()), 1 - decay)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]

    def _read_losses(self) -> None:
        """Copy the losses of the last steps from the device; not at every step, because a GPU would wait meanwhile.

        Raises ArithmeticError if a loss or gradient is not finite, before the weights are saved.
        """
        if self._unread:
            read_N2 = torch.stack(self._unread)
            if not read_N2.isfinite().all():
                raise ArithmeticError(f"{self.name}: a loss or gradient before step {self.step} is no number")
            self.losses.extend(read_N2[:, 0].tolist())
            self._unread.clear()

    def _learning_rate(self) -> float:
        """Return the learning rate of the current step: linear warm-up and cosine decay, multiplied."""
        how_far = self.step / self.schedule.steps
        cosine = FINAL_RATE_SHARE + (1 - FINAL_RATE_SHARE) * (0.5 + 0.5 * math.cos(math.pi * how_far))
        return self.schedule.rate * cosine * min(1, (self.step + 1) / WARM_UP_STEPS)

    def load_ema(self) -> nn.Module:
        """Replace the module's weights by their EMA and return the module; the stage must not be trained further."""
        with torch.no_grad():
            for name, parameter in self._trained.items():
                parameter.copy_(self._ema[name])
        return self.module

    def save(self) -> None:
        """Write the stage's file. Its keys `mean.*` are the EMA, `first.*` and `second.*` AdamW's moments."""
        # Parameters without a gradient so far, such as convolutions over time on pictures, have no moments.
        moments = {name: kept for name, p in self._trained.items() if (kept := self._optimiser.state.get(p))}
        tensors = {f"weight.{name}": p.detach() for name, p in self._trained.items()}
        tensors |= {f"mean.{name}": ema for name, ema in self._ema.items()}
        tensors |= {f"first.{name}": moments[name]["exp_avg"] for name in moments}
        tensors |= {f"second.{name}": moments[name]["exp_avg_sq"] for name in moments}
        tensors |= {f"steps.{name}": moments[name]["step"] for name in moments}
        tensors["losses"] = torch.tensor(self.losses)
        progress = {"step": str(self.step), "seconds": f"{self.seconds:.1f}"}
        write_whole(
            self.file, lambda draft: save_file({k: v.contiguous() for k, v in tensors.items()}, draft, progress)
        )

    def _restore(self) -> None:
        """Load step, losses, weights, EMA and the optimiser's moments from the stage's file."""
        with safe_open(self.file, "pt") as saved, torch.no_grad():
            progress, names = saved.metadata(), set(saved.keys())
            self.step, self.seconds = int(progress["step"]), float(progress["seconds"])
            self.losses = saved.get_tensor("losses").tolist()
            for name, parameter in self._trained.items():
                parameter.copy_(saved.get_tensor(f"weight.{name}"))
                self._ema[name].copy_(saved.get_tensor(f"mean.{name}"))
                if f"first.{name}" in names:
                    self._optimiser.state[parameter] = {
                        "step": saved.get_tensor(f"steps.{name}"),
                        "exp_avg": saved.get_tensor(f"first.{name}").to(parameter.device),
                        "exp_avg_sq": saved.get_tensor(f"second.{name}").to(parameter.device),
                    }


def losses(folder: Path, name: str) -> list[float]:
    """Return the losses of a stage so far, one per step; an empty list if it has not begun."""
    file = folder / f"{name}.safetensors"
    if not file.exists():
        return []
    with safe_open(file, "pt") as saved:
        return saved.get_tensor("losses").tolist()
