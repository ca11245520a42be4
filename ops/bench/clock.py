"""Measures the time of work on a device, what was queued there included. The parts of `engine` use it."""

import time
from collections.abc import Callable

import torch


def seconds(run: Callable[[], object], device: torch.device) -> float:
    """Return the seconds that `run` takes, its work on the device included, and none that was queued there before."""
    began = now(device)
    run()
    return now(device) - began


def now(device: torch.device) -> float:
    """Wait until the device has done all its work, and return the monotonic clock in seconds."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.monotonic()
