"""Switches the FSDP2 models between sharded and gathered, before each job. Called by the worker of every rank."""

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule

from inference.wan.load import Wan


def set_sharded(wan: Wan, *, dit_sharded: bool, t5_sharded: bool) -> None:
    """Shard or gather the transformer (`dit_sharded`) and the text encoder (`t5_sharded`) from the next job on.

    Sharded, a rank gathers each block before its pass and frees it afterwards. Gathered, a rank holds the whole model
    beside its own shard. A collective: every rank calls it, between jobs; also resets FSDP2 after a pass that an error
    ended. Cheap if nothing changes; does nothing on one rank. Raises ValueError if a model is to be sharded that was
    loaded whole.
    """
    # An offloaded encoder stays sharded: its rows come to the device block by block.
    offloaded = next(wan.text_encoder.parameters()).device != wan.device
    with torch.inference_mode():  # FSDP2's buffers were made in inference mode and can only be modified in it
        _set_sharded(wan.transformer, sharded=dit_sharded)
        _set_sharded(wan.text_encoder, sharded=t5_sharded or offloaded)


def _set_sharded(model: nn.Module, *, sharded: bool) -> None:
    """Shard or gather one model as `set_sharded` says. A collective. Raises `ValueError` as there."""
    if not isinstance(model, FSDPModule):
        if sharded and torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
            raise ValueError("a model that was loaded whole cannot be kept sharded")
        return
    _clear_up(model)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_reshard_after_forward(sharded, recurse=False)
            if sharded:
                module.reshard()
            else:
                module.unshard()


def _clear_up(model: FSDPModule) -> None:
    """Reset FSDP2's state if an error ended a pass half-way. There is no public way to ask for that state."""
    context = model._get_fsdp_state()._state_ctx  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    if context.iter_forward_root is not None and hasattr(model, "reset_iter_state"):  # torch < 2.13 recovers by itself
        model.reset_iter_state()
