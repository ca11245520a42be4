"""Which rank holds which rows of a large model. Knows neither Wan nor a job.

FSDP2 gives each rank an equal run of rows of every parameter, and gathers a block's rows when the block is reached.
"""

import math
from collections.abc import Iterable

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, OffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor


def sharding_mesh(device_type: str, world_size: int) -> DeviceMesh:
    """All ranks in a row: whatever the plan of a job, each holds another part. A collective: every rank makes it."""
    return init_device_mesh(device_type, (world_size,), mesh_dim_names=("rows",))


def shard(model: nn.Module, blocks: Iterable[nn.Module], mesh: DeviceMesh, *, offload: bool = False) -> None:
    """Leave each rank its rows, in main memory if they are to be offloaded; what has no memory gets none.

    No parameter may ask for gradients: only then FSDP2 takes several types in one block, as Wan has them in bf16.
    """
    policy = CPUOffloadPolicy(pin_memory=mesh.device_type != "cpu") if offload else OffloadPolicy()
    for block in blocks:
        fully_shard(block, mesh=mesh, reshard_after_forward=True, offload_policy=policy)
    fully_shard(model, mesh=mesh, reshard_after_forward=True, offload_policy=policy)


def local_rows(parameter: torch.Tensor) -> tuple[int, int]:
    """The rows of the parameter that this rank holds: from the first to before the last."""
    rows = parameter.shape[0]
    if not isinstance(parameter, DTensor):
        return 0, rows
    each = math.ceil(rows / parameter.device_mesh.size())
    first = min(parameter.device_mesh.get_local_rank() * each, rows)
    return first, min(first + each, rows)


def with_local_shard(
    parameter: torch.Tensor, rows: torch.Tensor, device: torch.device, dtype: torch.dtype
) -> nn.Parameter:
    """A parameter like this one, of which this rank holds these rows there."""
    rows = rows.to(device, dtype)
    if isinstance(parameter, DTensor):
        mesh, shape, stride = parameter.device_mesh, parameter.shape, parameter.stride()
        if device.type != mesh.device_type:  # `from_local` would bring them there
            shared = torch.empty_like(parameter, device=device, dtype=dtype)
            assert isinstance(shared, DTensor)
            shared.to_local().copy_(rows)
            return nn.Parameter(shared, requires_grad=False)
        rows = DTensor.from_local(rows, mesh, parameter.placements, run_check=False, shape=shape, stride=stride)
    return nn.Parameter(rows, requires_grad=False)
