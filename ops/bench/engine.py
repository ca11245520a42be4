"""Measures how fast the engine is, each side against another in the same run: `python -m ops.bench.engine [--help]`.

Prints a table, and writes it into a folder beside every sample as JSON and a plot of the ratios.
"""

import argparse
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
from msgspec import Struct

from inference.ranks import device
from ops.bench.child import json_lines
from ops.bench.report.plot import plot
from ops.bench.report.row import Row, read
from ops.bench.report.table import table
from ops.bench.setup import Setup

RESULTS = Path(__file__).parent / "results"

BY_ITSELF = ("loop", "mp4", "card", "queue", "checkpoint")
BY_RANKS = ("control", "plans")
ON_A_CPU = ("loop", "mp4", "queue", "checkpoint", "control", "plans")
ON_A_CARD = ("card", "checkpoint")


class Report(Struct, frozen=True):
    """The JSON file of one run: the machine, what was asked for, and every row."""

    machine: dict[str, str | int]
    setup: Setup
    rows: list[Row]


def measure(parts: Sequence[str], setup: Setup) -> Iterator[Row]:
    """Yield the rows of these parts. One process runs `BY_ITSELF`; then each count of ranks runs `BY_RANKS`.

    Ends this process if one of them fails.
    """
    text = msgspec.json.encode(setup).decode()
    for names, worlds in ((BY_ITSELF, (None,)), (BY_RANKS, setup.ranks)):
        asked = [name for name in names if name in parts]
        for ranks in worlds if asked else ():
            lines = json_lines("ops.bench.worker", text, *asked, threads=setup.threads, ranks=ranks)
            yield from map(read, lines)


def main(arguments: Sequence[str]) -> None:
    """Measure what the command line asks for; print the table, and write table, samples and plot into a folder.

    Ends the process with the usage or a sentence if the arguments are wrong.
    """
    here = device.choose(0)
    asked = _parser(ON_A_CPU if here.type == "cpu" else ON_A_CARD).parse_args(arguments)
    setup = _setup(asked)
    machine = _machine(here)
    rows = list(measure(asked.parts, setup))
    text = _headline(machine, setup) + table(rows)
    print(text)
    asked.out.mkdir(parents=True, exist_ok=True)
    report = msgspec.json.format(msgspec.json.encode(Report(machine, setup, rows)))
    (asked.out / f"{asked.name}.json").write_bytes(report + b"\n")
    (asked.out / f"{asked.name}.txt").write_text(text)
    (asked.out / f"{asked.name}.svg").write_text(plot(rows))
    print(f"also in {asked.out}, with every sample and a plot")


def _parser(parts: tuple[str, ...]) -> argparse.ArgumentParser:
    """Return the parser: `--parts`, by default `parts`; `--out`; `--name`; and an option for each field of `Setup`.

    A field that the command line lacks is None.
    """
    parser = argparse.ArgumentParser(prog="just bench-engine", description=__doc__)
    of = f"of {', '.join(BY_ITSELF + BY_RANKS)}; here {','.join(parts)}"
    parser.add_argument("--parts", type=_listed, default=parts, help=of)
    parser.add_argument("--out", type=Path, default=RESULTS, help="the folder for what is left")
    parser.add_argument("--name", default="engine", help="of the files in it")
    for field in msgspec.structs.fields(Setup):
        listed = isinstance(field.default, tuple)
        words = ",".join(map(str, field.default)) if listed else field.default
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=_listed if listed else str, help=f"here {words}")
    return parser


def _listed(text: str) -> tuple[str, ...]:
    """Return the words between the commas of an option."""
    return tuple(text.split(","))


def _setup(asked: argparse.Namespace) -> Setup:
    """Return the setup that the arguments ask for. Ends the process if a part is unknown or a value is not allowed."""
    if unknown := set(asked.parts) - {*BY_ITSELF, *BY_RANKS}:
        sys.exit(f"--parts: there is no {', '.join(sorted(unknown))}")
    values = {field: getattr(asked, field) for field in Setup.__struct_fields__}
    given = {field: value for field, value in values.items() if value is not None}
    try:
        return msgspec.convert(given, Setup, strict=False)
    except msgspec.ValidationError as error:
        sys.exit(str(error))


def _machine(here: torch.device) -> dict[str, str | int]:
    """Return kind and name of the device, the number of cores, and torch's version, for the report."""
    name: Any = platform.machine() if here.type == "cpu" else torch.get_device_module(here).get_device_name(here)
    return {"device": f"{here.type} {name}", "cores": os.cpu_count() or 1, "torch": str(torch.__version__)}


def _headline(machine: dict[str, str | int], setup: Setup) -> str:
    """Return the lines above the table: the machine, the setup, and a warning for more ranks than cores.

    Such ranks take turns on the cores, and cannot be faster than one.
    """
    cores = int(machine["cores"])
    crowded = [ranks for ranks in setup.ranks if ranks * setup.threads > cores]
    lines = [
        f"{machine['device']}, {cores} cores, torch {machine['torch']}; {setup.threads} threads a process",
        f"{setup.shape} model, {setup.size}, {setup.frames} frames, {setup.steps} steps; {setup.count} rounds",
        *(f"{ranks} ranks are more than the cores: they take turns on them" for ranks in crowded),
    ]
    return "\n".join(lines) + "\n\n"


if __name__ == "__main__":
    main(sys.argv[1:])
