"""Shards a model over ranks with FSDP2 and places loaded rows into it. Called by `load`.

FSDP2 gives each rank an equal run of rows of every parameter, and gathers a block's rows before the block's pass.
"""

import math
from collections.abc import Iterable

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, OffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor


def sharding_mesh(device_type: str, world_size: int) -> DeviceMesh:
    """Return the one-dimensional mesh over all ranks on which models are sharded, whatever the plan of a job.

    A collective: every rank calls it.
    """
    return init_device_mesh(device_type, (world_size,), mesh_dim_names=("rows",))


def shard(model: nn.Module, blocks: Iterable[nn.Module], mesh: DeviceMesh, *, offload: bool = False) -> None:
    """Shard `model` in place, one FSDP2 unit per block; with `offload` the shards are in main memory.

    Parameters on the meta device stay there. No parameter may require gradients: only then FSDP2 accepts several
    dtypes in one block, as Wan in bf16 has.
    """
    policy = CPUOffloadPolicy(pin_memory=mesh.device_type != "cpu") if offload else OffloadPolicy()
    for block in blocks:
        fully_shard(block, mesh=mesh, reshard_after_forward=True, offload_policy=policy)
    fully_shard(model, mesh=mesh, reshard_after_forward=True, offload_policy=policy)


def local_rows(parameter: torch.Tensor) -> tuple[int, int]:
    """Return the range of rows of `parameter` that this rank holds: first, and last + 1."""
    rows = parameter.shape[0]
    if not isinstance(parameter, DTensor):
        return 0, rows
    each = math.ceil(rows / parameter.device_mesh.size())
    first = min(parameter.device_mesh.get_local_rank() * each, rows)
    return first, min(first + each, rows)


def with_local_shard(
    parameter: torch.Tensor, rows: torch.Tensor, device: torch.device, dtype: torch.dtype
) -> nn.Parameter:
    """Return a parameter with the shape and sharding of `parameter` whose local shard is `rows`.

    The new parameter is on `device` in `dtype` and requires no gradient. If `parameter` is not sharded, `rows` are all.
    """
    rows = rows.to(device, dtype)
    if isinstance(parameter, DTensor):
        mesh, shape, stride = parameter.device_mesh, parameter.shape, parameter.stride()
        if not rows.untyped_storage().resizable():  # memory of numpy's, which `sharding` could not free
            rows = rows.clone()
        if device.type != mesh.device_type:  # `from_local` would move the rows to the mesh's device
            shared = torch.empty_like(parameter, device=device, dtype=dtype)
            assert isinstance(shared, DTensor)
            shared.to_local().copy_(rows)
            return nn.Parameter(shared, requires_grad=False)
        rows = DTensor.from_local(rows, mesh, parameter.placements, run_check=False, shape=shape, stride=stride)
    return nn.Parameter(rows, requires_grad=False)
