"""The lines of a process whose log owns standard output: whole, in order, and no reader holds the process up."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from contracts.process.stdout import GATHERED_MAX, TAKEN_WITHIN_S
from tests.kit.machine import REPOSITORY
from tests.kit.process import environment

WITHIN_S = 60.0
START = """
import asyncio, os, signal, sys, threading
from contracts.process import log, start
start.configure("demo", own_stdout=True)
"""


@contextmanager
def started(code: str, **streams: Any) -> Generator[subprocess.Popen[bytes], None, None]:
    """Start Python with this code after `START`, and kill it at the end if it has not ended."""
    program = [sys.executable, "-c", START + code]
    with subprocess.Popen[bytes](program, cwd=REPOSITORY, env=environment(), **streams) as process:
        try:
            yield process
        finally:
            process.kill()


def lines_of(code: str, expected: int = 0) -> list[dict[str, Any]]:
    """Return the lines that a process logs which runs this code, and ends with this exit code."""
    with started(code, stdout=subprocess.PIPE) as process:
        out, _ = process.communicate(timeout=WITHIN_S)
    assert process.returncode == expected
    return [json.loads(line) for line in out.splitlines()]


def test_gathered_lines_and_others_stay_in_order() -> None:
    code = f"""
async def main():
    for number in range({3 * GATHERED_MAX}):
        log.line("said", number=number, level="info" if number % 50 else "warning")
        if number % 7 == 0: log.get().info("said", number=number + 0.5)
        if number % 90 == 0: await asyncio.sleep(0)
asyncio.run(main())
log.line("said", number=1e6)
"""
    numbers = [line["number"] for line in lines_of(code)]
    assert numbers == sorted(numbers)
    assert len(numbers) == 3 * GATHERED_MAX + (3 * GATHERED_MAX + 6) // 7 + 1


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("sys.exit(3)", 3),
        ("raise ValueError", 1),
        ("log.get().error('last'); os._exit(4)", 4),
        ("await asyncio.sleep(0); os.kill(os.getpid(), signal.SIGKILL)", -9),
    ],
)
def test_gathered_lines_are_written_before_the_end(end: str, code: int) -> None:
    lines = lines_of(f"async def main():\n  log.line('said')\n  {end}\nasyncio.run(main())", expected=code)
    assert [line["event"] for line in lines if line["event"] != "last"] == ["said"]


def test_a_forked_process_does_not_write_what_its_parent_has_gathered() -> None:
    code = """
async def main():
    log.line("of the parent")
    if (child := os.fork()) == 0:
        log.get().warning("of the child")
        os._exit(0)
    os.waitpid(child, 0)
asyncio.run(main())
"""
    assert [line["event"] for line in lines_of(code)] == ["of the child", "of the parent"]


def test_lines_of_several_threads_are_whole() -> None:
    code = """
def say(thread):
    async def main():
        for number in range(400):
            log.line("said", thread=thread, number=number, filling="x" * (number * 7 % 5000))
            if number % 5 == 0: log.get().info("said", thread=thread, number=number + 0.5)
            if number % 20 == 0: await asyncio.sleep(0)
    asyncio.run(main())
threads = [threading.Thread(target=say, args=(number,)) for number in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
    lines = lines_of(code)
    assert len(lines) == 4 * 480
    for thread in range(4):
        numbers = [line["number"] for line in lines if line["thread"] == thread]
        assert numbers == sorted(numbers)
    assert all(line["service"] == "demo" for line in lines), "what is bound to the process is in each thread's lines"


STUCK = """
async def main():
    for number in range(2000):
        log.line("said", filling="x" * 500)
        log.get().info("said", filling="x" * 500)
        await asyncio.sleep(0)
    print("on", file=sys.stderr, flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    for number in range(10): log.line("read again")
asyncio.run(main())
"""


def test_a_reader_that_stops_holds_nobody_up_and_is_told_what_it_missed() -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with started(STUCK, **pipes) as process:
        assert process.stderr is not None
        began = time.monotonic()
        assert (
            process.stderr.readline()
            == b"standard output takes no more lines of the log; they are lost until it does\n"
        )
        assert process.stderr.readline() == b"on\n", "one complaint"
        assert time.monotonic() - began < WITHIN_S
        read, _ = process.communicate(b"\n", timeout=WITHIN_S)
    assert process.returncode == 0
    lines = [json.loads(line) for line in read.splitlines()]
    (missed,) = [line for line in lines if line["event"] == "lines_lost"]
    assert missed["level"] == "warning"
    said = [line["event"] for line in lines if line is not missed]
    assert missed["count"] > 0
    assert missed["count"] + len(said) == 4010
    assert said[-1] == "read again"


def test_a_process_waits_for_a_reader_that_is_slow() -> None:
    code = "for number in range(1000): log.line('said', filling='x' * 500)"
    with started(code, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        first = os.read(process.stdout.fileno(), 1)
        time.sleep(TAKEN_WITHIN_S / 8)  # long enough that the pipe is full
        out, _ = process.communicate(timeout=WITHIN_S)
    assert [json.loads(line)["event"] for line in (first + out).splitlines()] == ["said"] * 1000


def test_a_process_whose_reader_is_gone_goes_on() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    code = "for number in range(9): log.get().info('said')\nprint('on')"
    with started(code, stdout=writing, stderr=subprocess.PIPE) as process:
        os.close(writing)
        _, err = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 0
    assert err.splitlines()[1:] == [b"on"]


def test_after_a_line_that_a_full_disk_has_cut_off_a_new_one_begins(tmp_path: Path) -> None:
    code = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
for number in range(20): log.get().info("said", filling="x" * 100)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
for number in range(3): log.get().info("again")
"""
    log = tmp_path / "log"
    with log.open("ab") as out, started(code, stdout=out) as process:
        assert process.wait(WITHIN_S) == 0
    lines = log.read_bytes().splitlines()
    cut = [line for line in lines if not line.endswith(b"}")]
    events = [json.loads(line) for line in lines if line not in cut]
    assert len(cut) <= 1
    assert [line["event"] for line in events][-4:] == ["again", "lines_lost", "again", "again"]
    assert events[-3]["count"] + len(events) - 4 == 20


SAME = """
from hypothesis import given, settings, strategies as st
texts = st.text(st.characters())
values = st.none() | st.booleans() | st.integers() | st.floats() | texts
facts = st.dictionaries(texts.map("x".__add__), values, max_size=6)
@settings(max_examples=300, deadline=None, database=None)
@given(texts, facts, facts)
def test(event, given, bound):
    async def main():
        with log.bound(**bound):
            log.line(event, **given)
            log.get().info(event, **given)
    asyncio.run(main())
test()
"""


def test_any_gathered_line_is_what_structlog_would_have_written() -> None:
    with started(SAME, stdout=subprocess.PIPE) as process:
        out, _ = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 0
    lines = re.sub(rb'"timestamp":"[^"]+"', b"", out).splitlines()
    assert len(lines) >= 600
    assert lines[::2] == lines[1::2]
