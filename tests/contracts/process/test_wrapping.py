"""What others print becomes lines of JSON, with the level that it is marked with, also of a process that is killed."""

import json
import subprocess
import sys

import pytest

from contracts.process.wrapping import as_json, level_of
from tests.kit.machine import REPOSITORY
from tests.kit.process import environment

WITHIN_S = 60
PRINTING = """
import os, signal, subprocess, sys
from contracts.process import wrapping
wrapping.wrap("demo", lambda line: print(line, flush=True))
os.write(1, b'{"event": "ours"}\\n{"cut off')
subprocess.run(["sh", "-c", "echo from a child >&2; echo; echo '[1] [ERR] no disk'"])
os.write(2, b"last words")
os.kill(os.getpid(), signal.SIGKILL)
"""


def printed(**variables: str) -> list[str]:
    run = subprocess.run(
        [sys.executable, "-c", PRINTING], cwd=REPOSITORY, env=environment(**variables), capture_output=True,
        timeout=WITHIN_S, check=False, text=True,
    )  # fmt: skip
    assert run.returncode == -9
    assert run.stderr == ""
    return run.stdout.splitlines()


def test_every_line_of_a_process_and_its_children_is_json_even_the_last_words_of_one_that_is_killed() -> None:
    lines = [json.loads(line) for line in printed()]
    assert {"event": "ours"} in lines
    told = {(line["text"], line["stream"], line["level"]) for line in lines if line["event"] == "text_printed"}
    assert (
        told
        == {
            ("from a child", "stderr", "warning"),
            ('{"cut off', "stdout", "info"),
            ("[1] [ERR] no disk", "stdout", "error"),
            ("last words", "stderr", "warning"),
        }
        or ('{"cut off[1] [ERR] no disk', "stdout", "error") in told
    )  # nobody had ended that line
    assert all(line["service"] == "demo" and line["timestamp"].endswith("Z") for line in lines[1:] if "text" in line)


def test_for_people_lines_stay_as_they_are() -> None:
    lines = printed(LOG_FORMAT="console")
    assert "from a child" in lines
    assert '{"event": "ours"}' in lines


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("[7] 2026/11/29 04:05:12.12 [INF] Server is ready", "info"),
        ("[7] 2026/11/29 04:05:12.12 [WRN] Healthcheck failed", "warning"),
        ("[7] 2026/11/29 04:05:12.12 [FTL] no", "error"),
        ("2026-11-29 04:05:12,345 INFO success: edge entered RUNNING state", "info"),
        ("2026-11-29 04:05:12,345 WARN exited: edge (exit status 1)", "warning"),
        ("2026-11-29 04:05:12,345 CRIT Supervisor is running as root", "warning"),
        ("W1129 04:05:12.123 77 torch/distributed/run.py:774]", "warning"),
        ("[E1129 04:05:12.123 ProcessGroupNCCL.cpp:632] Watchdog caught collective", "error"),
        ("Traceback (most recent call last):", "error"),
        ("ValueError: no", "error"),
        ("torch.distributed.elastic.multiprocessing.errors.ChildFailedError:", "error"),
        ("lib.py:1: UserWarning: careful", "warning"),
        ("anything", "unmarked"),
    ],
)
def test_the_level_is_what_the_line_is_marked_with(line: str, level: str) -> None:
    assert level_of(line, "unmarked") == level


def test_text_below_the_level_that_is_asked_for_is_dropped_and_lines_of_ours_never() -> None:
    assert as_json("[1] [INF] hello", "broker", "stderr", "warning") is None
    assert as_json("[1] [WRN] hello", "broker", "stderr", "warning") is not None
    assert as_json("no mark", "broker", "stderr", "warning") is not None
    assert as_json('{"level": "info"}', "broker", "stderr", "warning") == '{"level": "info"}'
    assert as_json("  ", "broker", "stderr", "info") is None


@pytest.mark.parametrize("line", ["{", "{]", "[1, 2]", "{" * 100_000, '"text"', "\x1b[31mred\u2028"])
def test_what_only_looks_like_json_is_text(line: str) -> None:
    wrapped = as_json(line, "broker", "stdout", "info")
    assert wrapped is not None
    assert json.loads(wrapped)["text"] == line
    assert len(wrapped.splitlines()) == 1
