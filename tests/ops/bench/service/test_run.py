"""The benchmark of the service from its arguments to its files, with a row or two at tiny counts."""

import os
import sys
from pathlib import Path

import msgspec
import pytest

from ops.bench.service import run
from ops.bench.service.processes import Process, cores_of
from ops.bench.service.report import Report


def test_a_run_leaves_a_table_samples_and_a_plot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run.main(["visible", "--rounds", "5", "--seconds", "0.1", "--out", str(tmp_path)])
    report = msgspec.json.decode((tmp_path / "service.json").read_bytes(), type=Report)
    assert [row.what for row in report.rows] == ["event in the bucket, p50", "event in the edge's answer, p50"]
    assert all(row.ratio > 1 for row in report.rows), "an event is written and read as a bare value is, and more"
    assert (tmp_path / "service.txt").read_text() in capsys.readouterr().out
    assert "<svg" in (tmp_path / "service.svg").read_text()


@pytest.mark.timeout(300)
def test_pages_of_the_list_are_compared_wherever_they_lie(tmp_path: Path) -> None:
    arguments = ["list", "--rounds", "1", "--seconds", "0.2", "--jobs", "100,300", "--out", str(tmp_path)]
    run.main(arguments)
    rows = msgspec.json.decode((tmp_path / "service.json").read_bytes(), type=Report).rows
    named = {(row.over.name, row.under.name) for row in rows if row.under is not None and row.aim is not None}
    assert named == {
        ("last of 300", "first of 300"), ("middle of 300", "first of 300"),
        ("first of 300", "first of 100"), ("last of 300", "last of 100"),
    }  # fmt: skip
    assert all(row.over.samples[0] > 0 for row in rows)


def test_a_part_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(SystemExit, match=r"there is no cores2; there are submit, cores, .*replay"):
        run.main(["cores2"])


def test_a_tool_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match="taskset, setpriv"):
        run.check_tools()


@pytest.mark.parametrize(
    ("cores", "service", "two", "rest"),
    [([0], "0", "0", "0"), ([0, 1], "0", "0,1", "1"), ([2, 3, 5, 7], "2", "2,3", "5,7")],
)
def test_cores_are_shared_out_by_how_many_there_are(cores: list[int], service: str, two: str, rest: str) -> None:
    shared = cores_of(cores)
    assert (shared.service, shared.two, shared.rest, shared.count) == (service, two, rest, len(cores))


def test_the_cpu_time_of_a_process_holds_that_of_children_that_have_ended(tmp_path: Path) -> None:
    busy = "import time; end = time.process_time() + 0.2\nwhile time.process_time() < end: pass"
    run_it = f"subprocess.run([sys.executable, '-c', {busy!r}])"
    code = f"import subprocess, sys, time; {run_it}; print(1, flush=True); time.sleep(60)"
    core = str(min(os.sched_getaffinity(0)))
    process = Process([sys.executable, "-c", code], tmp_path / "log", cores=core).start()
    try:
        process.wait_for(lambda: bool(process.text))
        assert 200 <= process.cpu_ms < 2000
        assert 0 < process.rss_mib < 500
    finally:
        process.stop()
