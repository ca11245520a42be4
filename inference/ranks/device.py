"""Choose the device of this process, and join its process group.

`inference.launch` calls it once at the start of a rank. Devices are named by torch's own interface for accelerators, so
that no line depends on a vendor.
"""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous

CONTROL_TIMEOUT_S = 600  # how long a collective waits for the slowest rank before the cluster gives up


def choose(local_rank: int) -> torch.device:
    """Return the accelerator with this number, or the CPU if the machine has no accelerator."""
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return torch.device("cpu") if accelerator is None else torch.device(accelerator.type, local_rank)


def make_current(device: torch.device) -> None:
    """Make `device` the current device of this thread: torch keeps the choice for each thread separately."""
    if device.type != "cpu":
        torch.accelerator.set_device_index(device)


def memory(device: torch.device) -> dict[str, int]:
    """Return an accelerator's bytes: `allocated` by tensors, `reserved` by torch, and the `total`; empty for a CPU.

    Asks the driver at the first call alone, so that later ones, from any thread, do not wait for a device that hangs.
    """
    total = _total_memory(device)
    if total is None:
        return {}
    return {
        "allocated": torch.accelerator.memory_allocated(device),
        "reserved": torch.accelerator.memory_reserved(device),
        "total": total,
    }


@cache
def _total_memory(device: torch.device) -> int | None:
    """Return the bytes of a device's memory; None for a CPU, and for an accelerator whose driver does not say them."""
    driver = None if device.type == "cpu" else torch.get_device_module(device)
    if driver is None or not hasattr(driver, "mem_get_info"):  # CUDA, NPU and XPU have it
        return None
    _, total = driver.mem_get_info(device)
    return total


def backend(device: torch.device) -> str:
    """Return the backends of the process group, such as `cpu:gloo,cuda:nccl`: gloo for main memory, and the device's.

    Control tensors lie in main memory, so that they never wait in a device's queue.
    """
    if device.type == "cpu":
        return "cpu:gloo"
    return f"cpu:gloo,{device.type}:{dist.get_default_backend_for_device(device.type)}"


@contextmanager
def join_group(device: torch.device) -> Generator[Store]:
    """Join the group that torchrun's environment describes, as a rank, for the length of the block.

    Yields torchrun's key-value store, which the ranks share and which outlives each of them. Waits up to
    `CONTROL_TIMEOUT_S` for the others; raises torch's `DistError` if they do not come.
    """
    timeout = timedelta(seconds=CONTROL_TIMEOUT_S)
    store, rank, world_size = next(iter(rendezvous("env://", timeout=timeout)))
    dist.init_process_group(backend(device), store=store, rank=rank, world_size=world_size, timeout=timeout)
    try:
        yield store
    finally:
        dist.destroy_process_group()
