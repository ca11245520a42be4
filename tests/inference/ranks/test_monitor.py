import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kit.machine import REPOSITORY, free_port
from tests.kit.process import environment

SCRIPT = Path(__file__).parent / "monitor_of_a_rank.py"
WITHIN_S = 60


@contextmanager
def ranks(*deeds: str) -> Generator[list[subprocess.Popen[str]], None, None]:
    """Two real ranks that share a store, and what each is to do."""
    port = str(free_port())
    started = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(rank), port, deed],
            cwd=REPOSITORY,
            env=environment(OMP_NUM_THREADS="1", PYTHONPATH=str(REPOSITORY)),
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank, deed in enumerate(deeds)
    ]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def told(process: subprocess.Popen[str]) -> tuple[int, list[str]]:
    """The exit code, and what the rank said beside its log."""
    output, _ = process.communicate(timeout=WITHIN_S)
    return process.returncode, [
        line for line in output.splitlines() if line.startswith(("words", "down", "ended", "memory"))
    ]


def test_rank_0_hears_why_another_cannot_go_on() -> None:
    with ranks("listen", "report a failure") as (first, _):
        assert told(first) == (0, ["words|job|2|it broke", "ended in order"])


def test_rank_0_hears_what_memory_others_have_in_use() -> None:
    with ranks("hear memory", "say memory") as (first, _):
        assert told(first)[1][0] == "memory|{1: {'allocated': 11}}"


def test_a_silent_rank_takes_the_others_down_in_bounded_time() -> None:
    with ranks("listen", "sleep") as (first, _):
        assert told(first) == (1, ["down|rank 1 is silent"])


@pytest.mark.parametrize("who", [0, 1])
def test_all_go_down_when_one_says_so(who: int) -> None:
    deeds = ["abort" if rank == who else "listen" for rank in (0, 1)]
    with ranks(*deeds) as (first, second):
        assert told(first) == (1, ["down|as told"])
        assert told(second)[0] == 1
