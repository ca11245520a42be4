"""Random draws of a training, each from a generator that is seeded with the number of its step."""

from collections.abc import Sequence

import torch
from torch import nn


def device_of(module: nn.Module) -> torch.device:
    return next(module.parameters()).device


def draw_index(count: int, rng: torch.Generator) -> int:
    """One of so many."""
    return int(torch.randint(count, (), generator=rng))


def normal(shape: Sequence[int], rng: torch.Generator, device: torch.device) -> torch.Tensor:
    """Random numbers from this generator; for a GPU from one there that it seeds, which is far faster."""
    if device.type == "cpu":
        return torch.randn(*shape, generator=rng)
    there = torch.Generator(device).manual_seed(draw_index(2**62, rng))
    return torch.randn(*shape, generator=there, device=device)
