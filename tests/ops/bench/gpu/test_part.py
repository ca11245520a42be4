"""Parts of `just gpu`: what is left of one that fails or hangs, and how a report speaks of a run without a card."""

import os
import time
from pathlib import Path

import pytest

from ops.bench.gpu.finding import Fact
from ops.bench.gpu.part import Outcome, Part, run
from ops.bench.gpu.report import Report, text
from ops.bench.report.row import Row, Series
from tests.kit.waiting import eventually

WRITES = "from ops.bench.gpu.finding import Fact, write; write(Fact(part='p', what='begun', found='yes'));"
STARTS_ANOTHER = (
    "import subprocess, sys, time; from pathlib import Path;"
    "other = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True);"
    "Path(sys.argv[1]).write_text(str(other.pid)); time.sleep(600)"
)
LONG_S = 60.0
SHORT_S = 8.0


def ran(tmp_path: Path, code: str, *words: str, limit_s: float = LONG_S) -> Outcome:
    return run(Part("p", ("-c", code, *words), limit_s), tmp_path, {}, within_s=LONG_S)


def test_a_part_that_runs_to_its_end_gives_what_it_found(tmp_path: Path) -> None:
    outcome = ran(tmp_path, f"print('a library speaks');{WRITES}")
    assert outcome.failure == ""
    assert outcome.facts == [Fact(part="p", what="begun", found="yes")]


def test_a_part_that_fails_keeps_what_it_had_found_and_says_why(tmp_path: Path) -> None:
    outcome = ran(tmp_path, f"{WRITES} raise ValueError('no such kernel')")
    assert [fact.what for fact in outcome.facts] == ["begun"]
    assert outcome.failure == "ended with 1: ValueError: no such kernel"
    assert "Traceback" in outcome.log


async def test_a_part_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    began = time.monotonic()
    outcome = ran(tmp_path, f"{WRITES} {STARTS_ANOTHER}", str(tmp_path / "pid"), limit_s=SHORT_S)
    assert time.monotonic() - began < LONG_S
    assert [fact.what for fact in outcome.facts] == ["begun"]
    assert outcome.failure.startswith(f"not done within {SHORT_S:.0f} s")
    other = int((tmp_path / "pid").read_text())

    def gone() -> bool:
        try:
            os.kill(other, 0)
        except ProcessLookupError:
            return True
        return (Path("/proc") / str(other) / "stat").read_text().rpartition(")")[2].split()[0] == "Z"

    await eventually(gone, within_s=LONG_S)


def test_a_part_has_no_more_time_than_is_left_of_all(tmp_path: Path) -> None:
    outcome = run(Part("p", ("-c", "import time; time.sleep(600)"), LONG_S), tmp_path, {}, within_s=0.1)
    assert (outcome.limit_s, outcome.failure) == (0.1, "not done within 0 s")


@pytest.fixture
def report() -> Report:
    row = Row(part="kernels", what="720p", unit="TFLOP/s", over=Series("cudnn", [616.0]), under=Series("peak", [989.4]))
    done = Outcome(part="kernels", seconds=9, limit_s=60, rows=[row], facts=[])
    wrong = Fact(part="ranks", what="try own", found="Duplicate GPU", good=False)
    failed = Outcome(part="ranks", seconds=60, limit_s=60, rows=[], facts=[wrong], failure="not done within 60 s")
    return Report(69.0, [done, failed])


def test_a_report_shows_figures_and_what_is_not_as_it_should_be(report: Report) -> None:
    shown = text(report, dry=False)
    assert "NO CARD" not in shown
    assert "cudnn: 616 TFLOP/s  peak: 989 TFLOP/s  0.623" in shown
    assert "ranks  try own  NO    Duplicate GPU" in shown
    assert "not done within 60 s" in shown


def test_a_dry_run_says_loudly_that_it_measured_nothing_and_shows_no_figure(report: Report) -> None:
    shown = text(report, dry=True)
    assert shown.startswith("NO CARD: nothing here is a measure of one.\n")
    assert "cudnn" in shown
    assert "616" not in shown
    assert "989" not in shown
    assert "9 s" not in shown.replace("60 s", "")
