"""Runs one part of `just gpu` as a process of its own, with a time limit. `__main__` calls `run` for each part.

A part that fails, hangs or is out of time leaves what it had found until then, and a reason; the other parts go on.
"""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from ops.bench.child import QUIET
from ops.bench.gpu.finding import FOUND_CHARS_MAX, Fact, read
from ops.bench.gpu.processes import descendants, end
from ops.bench.report.row import Row
from ops.local.paths import REPOSITORY

END_WITHIN_S = 10.0
LOG_CHARS_MAX = 3000
DRY_PATIENCE = 8
"""Times the limits on a card, for a dry run: a CPU that others use may be slow, and nothing is measured."""


class Part(Struct, frozen=True):
    """A part: its name, the arguments of Python that run it, and the seconds that it may take."""

    name: str
    command: tuple[str, ...]
    limit_s: float


class Outcome(Struct, frozen=True, kw_only=True):
    """The result of one part. `failure` says why it has not run to its end; it is empty if it has.

    `log` is the end of what the part wrote to its standard error, kept if it failed.
    """

    part: str
    seconds: float
    limit_s: float
    rows: list[Row]
    facts: list[Fact]
    failure: str = ""
    log: str = ""


def run(part: Part, folder: Path, environment: Mapping[str, str], *, within_s: float) -> Outcome:
    """Run a part, and return its outcome. It has `within_s`, or its own limit if that is shorter.

    Its output, log and temporary files lie in `folder`. `environment` is set over this process's. A part that is out of
    time is ended with all its descendants. Linux only.
    """
    limit_s = min(part.limit_s, within_s)
    output, log = folder / f"{part.name}.out", folder / f"{part.name}.log"
    began = time.monotonic()
    with output.open("wb") as out, log.open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, *part.command],
            cwd=REPOSITORY,
            env={**os.environ, **QUIET, "TMPDIR": str(folder), **environment},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        try:
            code = process.wait(limit_s)
            failure = "" if code == 0 else f"ended with {code}"
        except subprocess.TimeoutExpired:
            failure = f"not done within {limit_s:.0f} s"
        finally:
            if process.returncode is None:
                end([process.pid, *descendants(process.pid)], within_s=END_WITHIN_S)
                process.wait()
    return _outcome(part, output, log, failure, seconds=time.monotonic() - began, limit_s=limit_s)


def _outcome(part: Part, output: Path, log: Path, failure: str, *, seconds: float, limit_s: float) -> Outcome:
    """Return the outcome of a part by its output and its log, whose last line says why it failed."""
    found = list(read(output.read_text(errors="replace").splitlines()))
    words = log.read_text(errors="replace").strip()
    if failure and words:
        failure = f"{failure}: {words.splitlines()[-1].strip()}"[:FOUND_CHARS_MAX]
    return Outcome(
        part=part.name,
        seconds=seconds,
        limit_s=limit_s,
        rows=[each.row for each in found if each.row is not None],
        facts=[each.fact for each in found if each.fact is not None],
        failure=failure,
        log=words[-LOG_CHARS_MAX:] if failure else "",
    )
