"""Reads and writes the results of the service's benchmark: a table, a JSON file with every sample, and a plot.

A run of some parts replaces theirs in the files and leaves the others: each part says when, and under which load.
"""

import os
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from ops.bench.report.plot import plot
from ops.bench.report.row import Row
from ops.bench.report.table import table

HEAD = (
    "Ratios are taken within each round: a ratio is their median, a spread their quartiles. What is measured is on\n"
    "the first core alone, with its children (part `cores`: the edge on two); what surrounds it is on the other cores."
)


class Measured(Struct, frozen=True, kw_only=True):
    """A part of a run: how often and how long, when, and the load average of the machine before and after.

    `failed` is the reason if the part did not come to its end; its rows are those until then.
    """

    part: str
    rounds: int
    seconds: float
    at: str
    load_before: float
    load_after: float
    rows: list[Row]
    failed: str = ""


class Report(Struct, frozen=True):
    """The JSON file: the machine, and all parts."""

    machine: dict[str, str | int]
    parts: list[Measured]

    @property
    def rows(self) -> list[Row]:
        """Return the rows of all parts."""
        return [row for part in self.parts for row in part.rows]


def read(file: Path) -> Report | None:
    """Return the report in a file; None if there is none. Raises `msgspec.MsgspecError`."""
    return msgspec.json.decode(file.read_bytes(), type=Report) if file.exists() else None


def merged(before: Report | None, measured: Sequence[Measured]) -> Report:
    """Return the report with these parts in place of what it had of them."""
    names = {part.part for part in measured}
    kept = [part for part in before.parts if part.part not in names] if before else []
    return Report(machine(), [*kept, *measured])


def write(report: Report, folder: Path, name: str) -> str:
    """Write the three files of a report, and return the text of the table."""
    text = shown(report)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    (folder / f"{name}.txt").write_text(text)
    (folder / f"{name}.svg").write_text(plot(report.rows))
    return text


def shown(report: Report) -> str:
    """Return the report as text: the machine, the rows that have an aim, and then each part with all its rows."""
    heads = [", ".join(f"{name} {value}" for name, value in report.machine.items()), HEAD]
    aims = table(row for row in report.rows if row.aim is not None)
    return "\n\n".join([*heads, f"Aims\n{aims}", *map(_part, report.parts)])


def _part(part: Measured) -> str:
    load = f"load average {part.load_before:.1f} before, {part.load_after:.1f} after"
    head = f"{part.part}: {part.rounds} rounds of {part.seconds:g} s, {part.at}, {load}"
    failed = [f"failed: {part.failed}"] if part.failed else []
    return "\n".join([head, *failed, table(part.rows)])


def machine() -> dict[str, str | int]:
    """Return what this machine is: processor, cores that may be used, Python."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines: Iterable[str] = cpuinfo.read_text().splitlines() if cpuinfo.exists() else ()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
