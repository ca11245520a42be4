"""Fails if a sturdy ratio is worse by more than 30 % than in the results: `python -m ops.bench.service.check`.

Two minutes of the cheap rows. Sturdy are ratios of CPU time and of memory, which hardly depend on the machine and its
load, and of the wait for an event against a bare put and get. A part that seems worse is measured once more, and fails
if the same row is worse again.
"""

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ops.bench.report.row import Row
from ops.bench.service import report
from ops.bench.service.asked import Asked
from ops.bench.service.processes import cores_of
from ops.bench.service.run import NAME, RESULTS, check_tools, measured

WORSE_MAX = 1.3
PARTS = ("submit", "status", "fold", "visible", "videos", "start")
STURDY_UNITS = ("CPU ms", "bytes")
STURDY_PARTS = ("visible",)
OTHERS = ("usual", "litestar", "nginx", "put+get")

Key = tuple[str, str, str]


class Worse(NamedTuple):
    """A row whose ratio is worse than it was, and the two ratios."""

    key: Key
    then: float
    now: float

    def __str__(self) -> str:
        part, what, under = self.key
        return f"{part}: {what}, ours / {under}: {self.now:.3f}, was {self.then:.3f}"


def sturdy(rows: Iterable[Row]) -> dict[Key, float]:
    """Return the ratios that are compared, by part, what and the other side. In all of them less is better."""
    return {
        (row.part, row.what, row.under.name): row.ratio
        for row in rows
        if row.under is not None
        and (row.over.name, row.under.name in OTHERS) == ("ours", True)
        and (row.unit in STURDY_UNITS or row.part in STURDY_PARTS)
    }


def worse(then: Iterable[Row], now: Iterable[Row]) -> list[Worse]:
    """Return the rows that are worse by more than `WORSE_MAX`; rows that only one of the two has do not count."""
    before = sturdy(then)
    return [
        Worse(key, before[key], ratio)
        for key, ratio in sturdy(now).items()
        if key in before and ratio > WORSE_MAX * before[key]
    ]


def failures(committed: list[Row], asked: Asked) -> Iterator[str]:
    """Yield a sentence for each row that is worse twice, and for each part that fails or has nothing to compare."""
    for name in PARTS:
        first = measured(name, asked)
        if first.failed:
            yield f"{name} failed: {first.failed}"
        elif not sturdy(first.rows).keys() & sturdy(committed).keys():
            yield f"{name}: none of its rows are in the committed results"
        elif found := worse(committed, first.rows):
            again = {each.key: each for each in worse(committed, measured(name, asked).rows)}
            yield from (str(again[each.key]) for each in found if each.key in again)


def main() -> None:
    """Measure, print what is worse, and end the process with 1 if anything is."""
    check_tools()
    committed = report.read(RESULTS / f"{NAME}.json")
    if committed is None:
        sys.exit(f"{RESULTS / NAME}.json is not there: just bench-service writes it")
    cores = cores_of(sorted(os.sched_getaffinity(0)))
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        asked = Asked(folder=Path(folder), cores=cores, rounds=3, seconds=0.6, jobs=(100, 1000), quick=True)
        found = list(failures(committed.rows, asked))
    for sentence in found:
        print(f"worse by more than {WORSE_MAX - 1:.0%}: {sentence}" if "/" in sentence else sentence)
    if found:
        sys.exit(1)
    print("no sturdy ratio is worse by more than 30 % than in the results")


if __name__ == "__main__":
    main()
