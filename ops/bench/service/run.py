"""Measures the service against the usual way, bare limits and an older checkout: `python -m ops.bench.service.run`.

Prints a table, and writes it into a folder beside every sample as JSON and a plot of the ratios.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from msgspec.structs import replace

from ops.bench.report.row import Row
from ops.bench.service import report
from ops.bench.service.asked import Asked
from ops.bench.service.parts import (
    fold,
    job,
    line,
    listing,
    metrics,
    scale,
    start,
    status,
    submit,
    videos,
    visible,
    waits,
)
from ops.bench.service.processes import cores_of
from ops.bench.service.report import Measured
from ops.bench.service.stack import Tree
from ops.bench.turns import say

RESULTS = Path(__file__).parents[1] / "results"
NAME = "service"
PARTS: dict[str, Callable[[Asked], Iterator[Row]]] = {
    "submit": submit.measure,
    "cores": submit.measure_two_cores,
    "status": status.measure,
    "line": line.measure,
    "list": listing.measure,
    "metrics": metrics.measure,
    "visible": visible.measure,
    "fold": fold.measure,
    "videos": videos.measure,
    "start": start.measure,
    "scale": scale.measure,
    "waits": waits.measure,
    "job": job.measure,
    "replay": fold.measure_replay,
}
NEEDED = ("taskset", "setpriv")


def measured(name: str, asked: Asked) -> Measured:
    """Return the rows of a part. A part that fails keeps those that it has, with the reason."""
    say(f"{name}: {asked.rounds} rounds of {asked.seconds:g} s")
    load_before, began, rows, failed = os.getloadavg()[0], datetime.now(UTC), list[Row](), ""
    folder = asked.folder / name
    folder.mkdir()
    try:
        for row in PARTS[name](replace(asked, folder=folder)):
            rows.append(row)
    except (Exception, SystemExit) as error:  # noqa: BLE001  # the other parts are still worth their time
        failed = f"{type(error).__name__}: {error}"
        say(f"{name} failed: {failed}")
    shutil.rmtree(folder, ignore_errors=True)
    return Measured(
        part=name,
        rounds=asked.rounds,
        seconds=asked.seconds,
        at=began.strftime("%Y-%m-%d %H:%M UTC"),
        load_before=load_before,
        load_after=os.getloadavg()[0],
        rows=rows,
        failed=failed,
    )


def main(arguments: Sequence[str]) -> None:
    """Measure what the command line asks for, print it and write it. Ends the process with 1 if a part failed."""
    check_tools()
    options = _parser().parse_args(arguments)
    if unknown := set(options.parts) - set(PARTS):
        sys.exit(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what was started is ended
    names = options.parts or [name for name in PARTS if name != "replay" or options.full]
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        asked = Asked(
            folder=Path(folder),
            cores=cores_of(sorted(os.sched_getaffinity(0))),
            rounds=options.rounds,
            seconds=options.seconds,
            jobs=options.jobs,
            against=None if options.against is None else Tree("old", options.against.resolve()),
            full=options.full,
        )
        done: list[Measured] = []
        for name in names:
            done.append(measured(name, asked))
            whole = report.merged(report.read(options.out / f"{NAME}.json"), done)
            report.write(whole, options.out, NAME)
    print(report.shown(report.Report(report.machine(), done)))
    print(f"also in {options.out}, with every sample and a plot")
    if any(part.failed for part in done):
        sys.exit(1)


def check_tools() -> None:
    """End the process if a tool is missing by which processes are pinned to cores."""
    if missing := [tool for tool in NEEDED if shutil.which(tool) is None]:
        sys.exit(f"{', '.join(missing)} (util-linux) must be installed to pin processes to cores")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="just bench-service", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; without any, all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each window of load")
    parser.add_argument("--jobs", type=_numbers, default=(100, 1000, 10_000, 100_000), help="how many jobs there are")
    parser.add_argument("--against", type=Path, help="another checkout, with its .venv, to measure beside this one")
    parser.add_argument("--full", action="store_true", help="a replay of 10⁶ events too, and 64 clients with 20 MP")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the folder for what is left")
    return parser


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(sorted(map(int, text.split(","))))


if __name__ == "__main__":
    main(sys.argv[1:])
