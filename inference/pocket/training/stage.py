"""What a training keeps on disk and how it goes on after being killed. Knows no model and no data.

One safetensors file per stage: weights, their running mean, the optimiser's moments and the losses so far, replaced
whole or not at all. What a step draws comes from its number, so no generator's state has to be saved.
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
"""The loss of the step with this number, which draws from this generator alone."""


class Schedule(Struct, frozen=True):
    """How long a stage trains, and how fast."""

    steps: int
    rate: float
    ema_decay: float = 0.995
    weight_decay: float = 0.0


class Stage:
    """A module in training, at some step of a schedule, with its file in the state folder."""

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
        """Train until the schedule's end, or until told to stop, saving now and then and at the end."""
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
        # The mean of few steps at first: the start is soon forgotten.
        decay = min(self.schedule.ema_decay, self.step / (self.step + 10))
        with torch.no_grad():
            # One call for all of them; `torch.optim.swa_utils` has it from here too.
            torch._foreach_lerp_(list(self._ema.values()), list(self._trained.values()), 1 - decay)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]

    def _read_losses(self) -> None:
        """Now and then, not at every step: a GPU would have nothing to do meanwhile.

        Raises ArithmeticError where one or its gradient is no number, before anything of it can be saved.
        """
        if self._unread:
            read_N2 = torch.stack(self._unread)
            if not read_N2.isfinite().all():
                raise ArithmeticError(f"{self.name}: a loss or gradient before step {self.step} is no number")
            self.losses.extend(read_N2[:, 0].tolist())
            self._unread.clear()

    def _learning_rate(self) -> float:
        """Up in a few steps, then down along a cosine."""
        how_far = self.step / self.schedule.steps
        cosine = FINAL_RATE_SHARE + (1 - FINAL_RATE_SHARE) * (0.5 + 0.5 * math.cos(math.pi * how_far))
        return self.schedule.rate * cosine * min(1, (self.step + 1) / WARM_UP_STEPS)

    def load_ema(self) -> nn.Module:
        """The module with the running mean of its weights in place; it is not to be trained on."""
        with torch.no_grad():
            for name, parameter in self._trained.items():
                parameter.copy_(self._ema[name])
        return self.module

    def save(self) -> None:
        # None for what no loss has reached yet, as the convolutions over time while there are only pictures.
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
    """Those of a stage so far, one a step; none if it has not begun."""
    file = folder / f"{name}.safetensors"
    if not file.exists():
        return []
    with safe_open(file, "pt") as saved:
        return saved.get_tensor("losses").tolist()
