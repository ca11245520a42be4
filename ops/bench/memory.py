"""What this process holds of a device's memory, and the most that it held. On a CPU that is the process (glibc)."""

import ctypes
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import torch

KIBIBYTE = 1024
MEMORY_ROUNDS_MAX = 3  # it hardly varies
FORK = multiprocessing.get_context("fork")


def held_bytes(device: torch.device) -> int:
    return _of_process("VmRSS") if device.type == "cpu" else torch.accelerator.memory_allocated(device)


def forget_peak(device: torch.device) -> None:
    """The peak counts from here."""
    if device.type == "cpu":
        Path("/proc/self/clear_refs").write_text("5")  # proc(5)
    else:
        torch.accelerator.reset_peak_memory_stats(device)


def peak_bytes(device: torch.device) -> int:
    return _of_process("VmHWM") if device.type == "cpu" else torch.accelerator.max_memory_allocated(device)


def peak_of(run: Callable[[], object], device: torch.device) -> int:
    """The most memory that is held while this runs. On a CPU it runs in a fork, as the first thing that it does."""
    if device.type != "cpu":
        return _peak_here(run, device)
    ours, childs = FORK.Pipe(duplex=False)
    child = FORK.Process(target=lambda: childs.send_bytes(str(_peak_here(run, device)).encode()))
    child.start()
    childs.close()
    peak = int(ours.recv_bytes())  # EOFError if it died
    child.join()
    return peak


def peak_above(run: Callable[[], object], device: torch.device) -> int:
    """The most that is held while this runs beside what was held before: for ranks, which cannot be forked."""
    if device.type == "cpu":
        ctypes.CDLL(None).malloc_trim(0)  # else what earlier runs have freed is there to be taken, unseen
    before = held_bytes(device)
    return _peak_here(run, device) - before


def _peak_here(run: Callable[[], object], device: torch.device) -> int:
    forget_peak(device)
    run()
    return peak_bytes(device)


def _of_process(field: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * KIBIBYTE
