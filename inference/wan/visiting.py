"""Brings a model from main memory to the device for the length of a block. `generate` does so for CLIP and the VAE."""

from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def on_device(model: nn.Module, device: torch.device) -> Generator[None]:
    """Have the model on `device` within the block; afterwards its parameters are those in main memory again.

    The copy on the device is freed, and nothing is copied back. Does nothing if the model is on `device`.
    """
    away: list[tuple[nn.Module, str, torch.Tensor]] = [
        (module, name, tensor)
        for module in model.modules()
        for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
        if tensor.device != device
    ]
    try:
        for module, name, tensor in away:
            copy = tensor.to(device)
            setattr(module, name, nn.Parameter(copy, requires_grad=False) if isinstance(tensor, nn.Parameter) else copy)
        yield
    finally:
        for module, name, tensor in away:
            setattr(module, name, tensor)
