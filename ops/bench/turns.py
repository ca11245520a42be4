"""Measures several sides by turns, so that whatever else the machine does hits them alike. Knows none of them."""

import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import torch

T = TypeVar("T")


def by_turns(sides: Mapping[str, Callable[[], T]], count: int) -> dict[str, list[T]]:
    """What each side came to in `count` rounds; every other round goes backwards."""
    took: dict[str, list[T]] = {name: [] for name in sides}
    for turn in range(count):
        for name in list(sides)[:: -1 if turn % 2 else 1]:
            took[name].append(sides[name]())
        say(f"round {turn + 1} of {count}: {'; '.join(sides)}")
    return took


def say(how_far: str) -> None:
    """To who waits for the rows; of several ranks one speaks."""
    if os.environ.get("RANK", "0") == "0":
        sys.stderr.write(how_far + "\n")


def warmed(sides: Mapping[str, Callable[[], T]]) -> Mapping[str, Callable[[], T]]:
    """The same, each run once: what the first run alone does is not to count."""
    for run in sides.values():
        run()
    return sides


def seconds(run: Callable[[], object], device: torch.device) -> float:
    began = now(device)
    run()
    return now(device) - began


def now(device: torch.device) -> float:
    """The clock once the device has done what it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.monotonic()
