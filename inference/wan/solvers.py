"""The three solvers (UniPC, DPM++, Euler) on exactly Wan2.1's sigmas, and their state as data. Called by `generate`."""

from dataclasses import dataclass, field
from typing import Any, assert_never

import numpy as np
import torch
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler

from contracts.job import Solver

TRAIN_TIMESTEPS = 1000
COUNTS = ("lower_order_nums", "this_order")

Scheduler = UniPCMultistepScheduler | DPMSolverMultistepScheduler | FlowMatchEulerDiscreteScheduler


@dataclass(frozen=True)
class Memory:
    """State of a multistep solver after some steps, by diffusers' names; empty for Euler.

    `outputs` are the last predictions, the newest last; an entry is None if fewer steps were done than the solver uses.
    """

    outputs: tuple[torch.Tensor | None, ...] = ()
    last_sample: torch.Tensor | None = None
    counts: dict[str, int] = field(default_factory=dict[str, int])


def solver(name: Solver, steps: int, shift: float, device: torch.device | None = None) -> Scheduler:
    """Return a scheduler at its first step, with its timesteps on `device`. It has state: make one per job.

    `shift` is the time shift of the sigmas. diffusers' own schedules differ from Wan2.1's by up to 0.004 in sigma, and
    its Euler shifts small sigmas twice, so the sigmas are set here. Source: `wan/utils/fm_solvers.py`,
    `fm_solvers_unipc.py` of Wan-Video/Wan2.1.
    """
    match name:
        case "unipc":
            return _unipc(steps, shift, device)
        case "dpm++":
            return _dpm(steps, shift, device)
        case "euler":
            return _euler(steps, shift, device)
        case _:
            assert_never(name)


def timesteps(scheduler: Scheduler) -> torch.Tensor:
    """Return the scheduler's timesteps, one entry per step, from high noise to low."""
    assert isinstance(scheduler.timesteps, torch.Tensor)
    return scheduler.timesteps


def advance(scheduler: Any, noise: torch.Tensor, timestep: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
    """Return the latents after one more step, in their shape, and move the scheduler to the next step.

    `noise` is the prediction at `timestep`. The schedulers' `step` methods agree, but their annotations do not.
    """
    return scheduler.step(noise, timestep, latents, return_dict=False)[0]


def clean_part(scheduler: Any, noise: torch.Tensor, step: int, latents: torch.Tensor) -> torch.Tensor:
    """Return the clean latents that the prediction `noise` means at a step, counted from 0: `latents − sigma · noise`.

    Any part of the latents may be given, with the same part of the noise. Flow matching: Lipman et al. 2022.
    """
    return latents - float(scheduler.sigmas[step]) * noise


def solver_memory(scheduler: Any) -> Memory:
    """Return the scheduler's state, sharing its tensors; `restore_solver` restores it."""
    return Memory(
        outputs=tuple(getattr(scheduler, "model_outputs", ())),
        last_sample=getattr(scheduler, "last_sample", None),
        counts={name: getattr(scheduler, name) for name in COUNTS if hasattr(scheduler, name)},
    )


def restore_solver(scheduler: Any, memory: Memory, step: int) -> None:
    """Restore a new scheduler to the state `memory`, which another scheduler had after `step` steps, at least one.

    The other one must have had the same settings.
    """
    scheduler._step_index = step  # noqa: SLF001  # `set_begin_index` would be overwritten at the first step
    for name, count in memory.counts.items():
        setattr(scheduler, name, count)
    if memory.outputs:
        scheduler.model_outputs = list(memory.outputs)
    if memory.last_sample is not None:
        scheduler.last_sample = memory.last_sample
    if hasattr(scheduler, "timestep_list"):
        room = len(scheduler.timestep_list)
        passed = list(scheduler.timesteps[max(0, step - room) : step])
        scheduler.timestep_list = [None] * (room - len(passed)) + passed


def _unipc(steps: int, shift: float, device: torch.device | None) -> UniPCMultistepScheduler:
    """Return UniPC with Wan2.1's sigmas, as `solver` does."""
    scheduler = UniPCMultistepScheduler(
        num_train_timesteps=TRAIN_TIMESTEPS, prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift
    )
    # Wan2.1 starts UniPC at 0.999, where the method's logarithms are finite, rounds that to fp32, and then divides it
    # into even steps; the scheduler applies the shift.
    highest = float(np.float32(1 - 1 / TRAIN_TIMESTEPS))
    unshifted = np.linspace(highest, 0, steps + 1)[:-1]
    scheduler.set_timesteps(sigmas=unshifted, device=device)  # pyright: ignore[reportArgumentType]
    return scheduler


def _dpm(steps: int, shift: float, device: torch.device | None) -> DPMSolverMultistepScheduler:
    """Return DPM++ with Wan2.1's sigmas, as `solver` does."""
    scheduler = DPMSolverMultistepScheduler(
        num_train_timesteps=TRAIN_TIMESTEPS, prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift
    )
    scheduler.set_timesteps(steps)
    # DPM++'s `set_timesteps` takes no sigmas: replace them, with the timesteps truncated to integers as in Wan2.1.
    sigmas = _sigmas_from_one(steps, shift)
    scheduler.sigmas = torch.from_numpy(np.append(sigmas, 0).astype(np.float32))
    scheduler.timesteps = torch.from_numpy(sigmas * TRAIN_TIMESTEPS).to(device, torch.int64)
    return scheduler


def _euler(steps: int, shift: float, device: torch.device | None) -> FlowMatchEulerDiscreteScheduler:
    """Return Euler with the sigmas of DPM++, as `solver` does."""
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=TRAIN_TIMESTEPS, shift=shift)
    scheduler.set_timesteps(steps)
    # Euler's `set_timesteps` would shift given sigmas again. Wan2.1 has no Euler; here it gets the sigmas of DPM++.
    sigmas = _sigmas_from_one(steps, shift)
    scheduler.sigmas = torch.from_numpy(np.append(sigmas, 0).astype(np.float32)).to(device)
    scheduler.timesteps = torch.from_numpy((sigmas * TRAIN_TIMESTEPS).astype(np.float32)).to(device)
    return scheduler


def _sigmas_from_one(steps: int, shift: float) -> np.ndarray:
    """Return `steps` sigmas, even from 1 towards 0, then time-shifted: a larger shift spends more steps on noise."""
    unshifted = np.linspace(1, 0, steps + 1)[:-1]
    return shift * unshifted / (1 + (shift - 1) * unshifted)
