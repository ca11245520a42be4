"""Measures the memory that this process holds on a device, and its peak, in bytes.

On a CPU that is the resident memory of the process (Linux, glibc); on an accelerator, what torch has allocated.
"""

import ctypes
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import torch

KIBIBYTE = 1024
MEMORY_ROUNDS_MAX = 3  # memory hardly varies between rounds
FORK = multiprocessing.get_context("fork")


def held_bytes(device: torch.device) -> int:
    """Return the bytes that this process holds on the device now."""
    return _of_process("VmRSS") if device.type == "cpu" else torch.accelerator.memory_allocated(device)


def forget_peak(device: torch.device) -> None:
    """Reset the peak to what is held now."""
    if device.type == "cpu":
        Path("/proc/self/clear_refs").write_text("5")  # proc(5)
    else:
        torch.accelerator.reset_peak_memory_stats(device)


def peak_bytes(device: torch.device) -> int:
    """Return the most bytes that this process has held on the device since `forget_peak`."""
    return _of_process("VmHWM") if device.type == "cpu" else torch.accelerator.max_memory_allocated(device)


def peak_of(run: Callable[[], object], device: torch.device) -> int:
    """Return the peak memory in bytes while `run` runs. On a CPU a forked child runs it before anything else.

    The child's peak includes what this process held at the fork; effects of `run` are lost with the child. Raises
    `EOFError` if the child dies.
    """
    if device.type != "cpu":
        return _peak_here(run, device)
    ours, childs = FORK.Pipe(duplex=False)
    child = FORK.Process(target=lambda: childs.send_bytes(str(_peak_here(run, device)).encode()))
    child.start()
    childs.close()
    peak = int(ours.recv_bytes())
    child.join()
    return peak


def peak_above(run: Callable[[], object], device: torch.device) -> int:
    """Return the peak memory in bytes while `run` runs, less what was held before.

    Ranks use this: they cannot be forked.
    """
    if device.type == "cpu":
        ctypes.CDLL(None).malloc_trim(0)  # else the allocator reuses what earlier runs freed, and the peak misses it
    before = held_bytes(device)
    return _peak_here(run, device) - before


def _peak_here(run: Callable[[], object], device: torch.device) -> int:
    """Return the peak memory in bytes while `run` runs in this process."""
    forget_peak(device)
    run()
    return peak_bytes(device)


def _of_process(field: str) -> int:
    """Return a size from /proc/self/status, such as `VmRSS`, in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * KIBIBYTE
