"""Reads a component's weights into its empty module, on each rank its own rows only. Called by `load`."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from contracts.process import log
from inference.wan import fp8
from inference.wan.checkpoint.components import Component
from inference.wan.parallel.fsdp import local_rows, with_local_shard

LOG_EVERY_S = 5.0


class LoadingProgress:
    """Logs every `LOG_EVERY_S` how much this rank has read. Lives for one `read`."""

    def __init__(self) -> None:
        self._bytes = 0
        self._logged_at = time.monotonic()

    def add(self, component: Component, size: int) -> None:
        """Count `size` more bytes, read for `component`."""
        self._bytes += size
        if time.monotonic() - self._logged_at >= LOG_EVERY_S:
            self._logged_at = time.monotonic()
            log.get().info("model_loading", part=component.where.name, gigabytes=round(self._bytes / 1e9, 2))


def read_weights(
    component: Component,
    model: Any,
    dtype_of: Callable[[str], torch.dtype],
    device: torch.device,
    progress: LoadingProgress,
) -> Any:
    """Read this rank's rows of all parameters of the empty `model`, in file order, and return the model on `device`.

    `model` may be sharded. `dtype_of` gives a parameter's dtype by its name; weights of an `Fp8Linear` are quantised
    instead. Raises `CheckpointError` if a file has become shorter.
    """
    names = {component.canonical(name): name for name, _ in model.named_parameters()}
    new: dict[nn.Parameter, nn.Parameter] = {}
    for stored_name, stored in component.stored.items():
        if stored_name not in names:
            continue
        name = names[stored_name]
        owner, parameter = model.get_submodule(name.rpartition(".")[0]), model.get_parameter(name)
        first, last = local_rows(parameter)
        rows = stored.read(first, last)
        progress.add(component, rows.nbytes)
        if isinstance(owner, fp8.Fp8Linear) and parameter is owner.weight:
            rows, scale = fp8.quantise(rows.to(device))
            new[owner.scale] = with_local_shard(owner.scale, scale, device, scale.dtype)
            new[parameter] = with_local_shard(parameter, rows, device, rows.dtype)
        else:
            new[parameter] = with_local_shard(parameter, rows, device, dtype_of(name))
    _replace(model, new)
    _move_buffers(model, device)
    return model


def _replace(model: nn.Module, new: dict[nn.Parameter, nn.Parameter]) -> None:
    """Put the new parameter in each place of the old one; every parameter of the model must have a new one."""
    # Matched by identity, so that a parameter used in two places remains one parameter.
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False, remove_duplicate=False)):
            setattr(module, name, new[parameter])


def _move_buffers(model: nn.Module, device: torch.device) -> None:
    """Move the buffers of all modules to the device, in place."""
    for module in model.modules():
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, buffer.to(device))
