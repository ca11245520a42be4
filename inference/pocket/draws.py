"""Random numbers for training, drawn from a generator that the caller seeds with the number of the step."""

from collections.abc import Sequence

import torch
from torch import nn


def device_of(module: nn.Module) -> torch.device:
    """Return the device of the module's parameters."""
    return next(module.parameters()).device


def draw_index(count: int, rng: torch.Generator) -> int:
    """Return a random index below `count`."""
    return int(torch.randint(count, (), generator=rng))


def normal(shape: Sequence[int], rng: torch.Generator, device: torch.device) -> torch.Tensor:
    """Return normal random numbers on `device`, in fp32. The same `rng` gives other numbers on another kind of device.

    For a GPU, `rng` seeds a generator there, which is far faster than to draw on the CPU and copy.
    """
    if device.type == "cpu":
        return torch.randn(*shape, generator=rng)
    there = torch.Generator(device).manual_seed(draw_index(2**62, rng))
    return torch.randn(*shape, generator=there, device=device)
