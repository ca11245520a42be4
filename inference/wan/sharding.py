"""Whether the ranks keep the large models apart while a job runs, or all at hand. Knows no job and no plan."""

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule

from inference.wan.load import Wan


def set_sharded(wan: Wan, *, dit_sharded: bool, t5_sharded: bool) -> None:
    """Keep the transformer and the text encoder so from now on, and clear up after a pass that was broken off.

    Sharded, a rank gathers each block when it is reached and drops it after; gathered, it has the whole model beside
    its own rows. A collective: every rank calls it, between jobs. It is cheap where nothing changes, and on one rank
    there is nothing to change. Raises ValueError where rows are to be kept apart that were not loaded so.
    """
    # The rows of an offloaded encoder come to the device block by block or not at all.
    offloaded = next(wan.text_encoder.parameters()).device != wan.device
    with torch.inference_mode():  # as the passes are run: what was made there cannot be written to outside
        _set_sharded(wan.transformer, sharded=dit_sharded)
        _set_sharded(wan.text_encoder, sharded=t5_sharded or offloaded)


def _set_sharded(model: nn.Module, *, sharded: bool) -> None:
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
    """An error on the way leaves FSDP2 in the middle of its pass; there is no public way to ask."""
    context = model._get_fsdp_state()._state_ctx  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    if context.iter_forward_root is not None and hasattr(model, "reset_iter_state"):  # before torch 2.13 it recovers
        model.reset_iter_state()
