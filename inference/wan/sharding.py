"""Switches the FSDP2 models between sharded and gathered, before each job. Called by the worker of every rank."""

from collections.abc import Iterator

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule

from inference.wan.load import Wan


def set_sharded(wan: Wan, *, dit_sharded: bool, t5_sharded: bool) -> None:
    """Shard or gather the transformer (`dit_sharded`) and the text encoder (`t5_sharded`) from the next job on.

    Sharded, a rank gathers each block before its pass and frees it afterwards. Gathered, a rank holds the whole model,
    and its own rows only as a part of that. A collective: every rank calls it, between jobs; also resets FSDP2 after a
    pass that an error ended. Cheap if nothing changes; does nothing on one rank. Raises ValueError if a model is to be
    sharded that was loaded whole.
    """
    # An offloaded encoder stays sharded: its rows come to the device block by block.
    offloaded = next(wan.text_encoder.parameters()).device != wan.device
    with torch.inference_mode():  # FSDP2's buffers were made in inference mode and can only be modified in it
        _set_model_sharded(wan.transformer, sharded=dit_sharded)
        _set_model_sharded(wan.text_encoder, sharded=t5_sharded or offloaded)


def _set_model_sharded(model: nn.Module, *, sharded: bool) -> None:
    """Shard or gather one model as `set_sharded` says, called in inference mode. A collective.

    Raises `ValueError` as there.
    """
    if not isinstance(model, FSDPModule):
        if sharded and torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
            raise ValueError("a model that was loaded whole cannot be kept sharded")
        return
    units = [module for module in model.modules() if isinstance(module, FSDPModule)]
    broken = _is_broken(model)
    for unit in units:
        unit.set_reshard_after_forward(sharded, recurse=False)
        if sharded or broken:
            _restore_rows(unit)
            unit.reshard()
    if broken:
        model.reset_iter_state()
    for unit in () if sharded else units:
        unit.unshard()
        _free_rows(unit)


def _is_broken(model: FSDPModule) -> bool:
    """Return whether an error ended a pass half-way, so that FSDP2's state must be reset, which reshards the model."""
    context = model._get_fsdp_state()._state_ctx  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return context.iter_forward_root is not None and hasattr(model, "reset_iter_state")  # torch < 2.13 needs no reset


def _free_rows(unit: FSDPModule) -> None:
    """Free the rank's rows of a gathered unit, which lie a second time in the gathered parameters."""
    for _, rows in _parameters(unit):
        rows.untyped_storage().resize_(0)


def _restore_rows(unit: FSDPModule) -> None:
    """Copy the rank's rows back from the gathered parameters, if `_free_rows` has freed them."""
    for gathered, rows in _parameters(unit):
        storage = rows.untyped_storage()
        if rows.numel() and not storage.nbytes():
            storage.resize_(int(rows.storage_offset() + rows.numel()) * rows.itemsize)
            rows.copy_(gathered[0].chunk(torch.distributed.get_world_size())[torch.distributed.get_rank()])


def _parameters(unit: FSDPModule) -> Iterator[tuple[list[torch.Tensor], torch.Tensor]]:
    """Yield, for each parameter of a unit, its gathered rows of all ranks and this rank's own rows, both flat.

    The gathered rows are a list of one tensor, or none before they were gathered for the first time. FSDP2 has no
    public name for them.
    """
    group = unit._get_fsdp_state()._fsdp_param_group  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    for parameter in () if group is None else group.fsdp_params:
        yield parameter.all_gather_outputs, parameter._sharded_param_data  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
