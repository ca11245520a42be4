"""Thousands of histories by their seeds: `python -m tests.simulation.run [COUNT] [FIRST]`. Prints how long it took."""

import random
import sys
import time
from collections import Counter

from contracts.events import Ending, JobStarted
from tests.simulation.world import history


def main(count: int, first: int) -> None:
    began = time.monotonic()
    seen: Counter[str] = Counter()
    for seed in range(first, first + count):
        try:
            world = history(random.Random(seed).randrange)
        except AssertionError as error:
            sys.exit(f"seed {seed}: {error}")
        seen.update(type(each.event).__name__ for each in world.log if isinstance(each.event, Ending))
        seen["attempts"] += sum(isinstance(each.event, JobStarted) for each in world.log)
    print(f"{count} histories in {time.monotonic() - began:.1f} s, every invariant held: {dict(seen)}")


if __name__ == "__main__":
    main(*(int(argument) for argument in [*sys.argv[1:], *("10000", "0")[len(sys.argv) - 1 :]]))
