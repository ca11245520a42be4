"""A rank of test_device.py on a stand-in for an NPU: torch's own door for foreign devices, and gloo under hccl's name.

What torch_npu registers is registered here, less the device: no number is ever computed on it.
"""

import os
import sys
import types
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from inference.ranks import device
from inference.wan.parallel.fsdp import sharding_mesh


class Npu(types.ModuleType):
    """What torch asks of a device's module."""

    is_available = staticmethod(lambda: True)
    is_initialized = staticmethod(lambda: True)
    device_count = staticmethod(lambda: 2)
    current_device = staticmethod(lambda: 0)
    _is_in_bad_fork = staticmethod(lambda: False)


def hccl(store: Any, rank: int, size: int, timeout: timedelta) -> dist.ProcessGroupGloo:
    return dist.ProcessGroupGloo(store, rank, size, timeout)


def register() -> None:
    _setup_privateuseone_for_python_backend("npu", Npu("torch.npu"))
    dist.Backend.register_backend("hccl", hccl, devices=["npu"])


def main() -> None:
    register()
    where = device.choose(int(os.environ["LOCAL_RANK"]))
    device.make_current(where)
    with device.join_group(where):
        mesh = sharding_mesh(where.type, dist.get_world_size())
        votes = torch.tensor([1, dist.get_rank()])
        dist.all_reduce(votes)
        rows = mesh.get_group()
        told = [where, device.backend(where), votes.tolist(), mesh.device_type, mesh.size(), mesh.get_local_rank()]
        told.append(rows._get_backend(where).name())
    sys.stdout.write("|".join(map(str, ["TOLD", *told])) + "\n")  # in one piece: two ranks share the pipe


if __name__ == "__main__":
    main()
