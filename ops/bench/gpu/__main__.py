"""Measures all that needs a card, on one H100 or H200, in 12 minutes: `python -m ops.bench.gpu [--dry] [--parts …]`.

Every part is a process of its own with a time limit; one that fails or hangs costs only what it had still to find. The
results lie in `ops/bench/results/gpu.{txt,json,svg}`. Without an accelerator, or with `--dry`, every part is tried at a
tiny size on the CPU: that shows that the script runs, and only `gpu-dry.txt` is written, without any figure.
"""

import argparse
import ctypes
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from ops.bench.gpu.part import DRY_PATIENCE, END_WITHIN_S, Outcome, Part, run
from ops.bench.gpu.processes import descendants, end
from ops.bench.gpu.report import Report, text
from ops.bench.report.plot import plot

RESULTS = Path(__file__).parents[1] / "results"
TOTAL_S = 720.0
MACHINE_S = 50.0
MACHINE = Part("machine", ("-m", "ops.bench.gpu.machine"), MACHINE_S)
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
NO_CARD = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}


def parts(mode: str) -> tuple[Part, ...]:
    """Return the parts in the order in which they run: what is wanted most comes first."""
    patience = DRY_PATIENCE if mode == "dry" else 1

    def module(name: str, *words: str) -> tuple[str, ...]:
        return ("-m", f"ops.bench.gpu.{name}", *words)

    return (
        Part("service", module("service", mode), 170 * patience),
        Part("kernels", module("kernels", mode), 55 * patience),
        Part("whole", module("whole", mode), 140 * patience),
        Part("blocks", module("blocks", "blocks", mode, "ours", "fp8", "cache"), 75 * patience),
        Part("precision", module("precision", mode), 50 * patience),
        Part("ranks", module("ranks", mode), 60 * patience),
        Part("compiled", module("blocks", "compiled", mode, "compile", "compile+fp8", "compile+cache"), 120 * patience),
    )


def outcomes(chosen: Sequence[Part], environment: Mapping[str, str], *, within_s: float) -> Iterator[Outcome]:
    """Yield the outcome of each part. A part for which no time is left has none to run in, and says so.

    Every process that a part leaves behind is ended before the next part starts.
    """
    deadline = time.monotonic() + within_s
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for part in chosen:
            outcome = run(part, Path(folder), environment, within_s=max(0.0, deadline - time.monotonic()))
            end(descendants(os.getpid()), within_s=END_WITHIN_S)
            print(f"{part.name}: {outcome.failure or 'ran'}, {outcome.seconds:.0f} s", file=sys.stderr, flush=True)
            yield outcome


def main(arguments: Sequence[str]) -> int:
    """Run the parts, print the report and write it; return 1 if a part failed or found what should not be."""
    names = [part.name for part in parts("dry")]
    parser = argparse.ArgumentParser(prog="just gpu", description=__doc__)
    parser.add_argument("--dry", action="store_true", help="at tiny sizes on the CPU, also where a card is")
    parser.add_argument("--parts", default=",".join(names), help=f"of {', '.join(names)}; all by default")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the folder for the results")
    asked = parser.parse_args(arguments)
    wanted = asked.parts.split(",")
    if unknown := set(wanted) - set(names):
        sys.exit(f"--parts: there is no {', '.join(sorted(unknown))}")
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)  # what outlives its part becomes a child of this process
    began = time.monotonic()
    (machine,) = outcomes([MACHINE], NO_CARD if asked.dry else {}, within_s=MACHINE_S)
    if machine.failure:
        sys.exit(f"torch or diffusers cannot be used here: {machine.failure}\n{machine.log}")
    dry = asked.dry or not any(fact.what == "device" and fact.found == "cuda" for fact in machine.facts)
    chosen = [part for part in parts("dry" if dry else "card") if part.name in wanted]
    left_s = DRY_PATIENCE * TOTAL_S if dry else TOTAL_S - machine.seconds
    found = [machine, *outcomes(chosen, NO_CARD if dry else {}, within_s=left_s)]
    report = Report(time.monotonic() - began, found)
    _write(report, asked.out, dry=dry)
    return int(any(each.failure or any(fact.good is False for fact in each.facts) for each in found))


def _write(report: Report, folder: Path, *, dry: bool) -> None:
    """Print the report, and write it; of a dry run only the text, under a name of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    shown = text(report, dry=dry)
    print(shown)
    (folder / ("gpu-dry.txt" if dry else "gpu.txt")).write_text(shown)
    if dry:
        return
    (folder / "gpu.json").write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    (folder / "gpu.svg").write_text(plot(row for each in report.outcomes for row in each.rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
