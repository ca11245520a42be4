"""Runs the sides of a benchmark by turns, so that other load on the machine hits all of them alike. Without torch."""

import os
import sys
from collections.abc import Callable, Mapping
from typing import TypeVar

T = TypeVar("T")


def by_turns(sides: Mapping[str, Callable[[], T]], count: int) -> dict[str, list[T]]:
    """Return each side's results of `count` rounds, in the order of the rounds. Prints progress.

    Every second round runs the sides in reverse order.
    """
    took: dict[str, list[T]] = {name: [] for name in sides}
    for turn in range(count):
        for name in list(sides)[:: -1 if turn % 2 else 1]:
            took[name].append(sides[name]())
        say(f"round {turn + 1} of {count}: {'; '.join(sides)}")
    return took


def say(how_far: str) -> None:
    """Print progress to standard error, for the user who waits; of several ranks only rank 0 prints."""
    if os.environ.get("RANK", "0") == "0":
        sys.stderr.write(how_far + "\n")


def warmed(sides: Mapping[str, Callable[[], T]]) -> Mapping[str, Callable[[], T]]:
    """Run each side once, so that work of a first run does not count, and return the sides unchanged."""
    for run in sides.values():
        run()
    return sides
