"""The device of this process, and its process group. Knows no model and no vendor."""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous

CONTROL_TIMEOUT_S = 600  # how long a collective waits for the slowest rank before the cluster gives up


def choose(local_rank: int) -> torch.device:
    """The accelerator with this number, or the CPU where there is none."""
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return torch.device("cpu") if accelerator is None else torch.device(accelerator.type, local_rank)


def make_current(device: torch.device) -> None:
    """Make it this thread's device: torch keeps the choice for each thread by itself."""
    if device.type != "cpu":
        torch.accelerator.set_device_index(device)


def backend(device: torch.device) -> str:
    """gloo for what lies in main memory, so that control never waits in a device's queue; the device's own beside."""
    if device.type == "cpu":
        return "cpu:gloo"
    return f"cpu:gloo,{device.type}:{dist.get_default_backend_for_device(device.type)}"


@contextmanager
def join_group(device: torch.device) -> Generator[Store]:
    """Be a rank of the group that torchrun's environment describes, for as long as the block lasts.

    Yields the key-value store that the ranks share, which is torchrun's and outlives each of them.
    """
    timeout = timedelta(seconds=CONTROL_TIMEOUT_S)
    store, rank, world_size = next(iter(rendezvous("env://", timeout=timeout)))
    dist.init_process_group(backend(device), store=store, rank=rank, world_size=world_size, timeout=timeout)
    try:
        yield store
    finally:
        dist.destroy_process_group()
