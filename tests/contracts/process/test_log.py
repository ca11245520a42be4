import json
import os
import pty
import re
import subprocess
import sys

import pytest

from contracts.process import log
from contracts.process.start import EX_CONFIG
from tests.kit.machine import REPOSITORY
from tests.kit.process import environment


def test_a_url_is_logged_without_query_credentials_or_body() -> None:
    assert log.without_query("https://user:secret@host.example:8443/a.png?token=secret") == "https://host.example/a.png"
    assert log.without_query("data:image/png;base64,c2VjcmV0") == "data:…"
    assert "secret" not in log.without_query("http://[secret")


def test_lines_are_json_and_carry_what_is_bound() -> None:
    program = """
import logging, warnings
from contracts.process import log
log.configure("demo", rank=3)
with log.bound(job_id="j"):
    log.get().info("done", steps=4)
    logging.getLogger("lib").warning("from a library")
    warnings.warn("careful")
try:
    prompt = "planted"; 1/0
except ZeroDivisionError: log.get().exception("failed")
"""
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, env=environment(), capture_output=True, text=True, check=True
    )
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    assert [line["event"] for line in lines[:2]] == ["done", "from a library"]
    assert all(line["service"] == "demo" and line["rank"] == 3 for line in lines)
    assert lines[0]["job_id"] == lines[1]["job_id"] == "j"
    assert "careful" in lines[2]["event"]
    assert lines[3]["exception"][0]["exc_type"] == "ZeroDivisionError"
    assert "planted" not in run.stdout


DISGUISES = "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e\x7f\x9b\u202e\u2066\u200b\ufeff\ud800\n\r\t\x1b"
FORGING = f"""
from contracts.process import log
log.configure("demo")
text = {DISGUISES!a} + " 小船 é"
log.get().info("seen", path=text)
log.get().info(text, many=[text])
try:
    raise ValueError(text)
except ValueError: log.get().exception("failed")
"""


def test_one_fact_is_one_line_for_every_reader_whatever_stands_in_it() -> None:
    run = subprocess.run(
        [sys.executable, "-c", FORGING], cwd=REPOSITORY, env=environment(), capture_output=True, check=True
    )
    text = run.stdout.decode()
    assert len(text.splitlines()) == text.count("\n") == 3
    assert not any(character in text.replace("\n", "") for character in DISGUISES)
    seen = json.loads(text.splitlines()[0])
    assert seen["path"] == DISGUISES + " 小船 é"
    assert "小船 é" in text


def test_a_terminal_shows_one_line_for_a_fact_too() -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", FORGING], cwd=REPOSITORY, env=environment(), stdout=theirs) as run:
        os.close(theirs)
        text = b""
        try:
            while part := os.read(ours, 65536):
                text += part
        except OSError:
            pass  # the other side is closed
        assert run.wait() == 0
    os.close(ours)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text.decode()).removesuffix("\r\n").split("\r\n")
    assert "seen" in lines[0] and "path=" in lines[0] and "小船" in lines[0]
    assert "many=" in lines[1]
    assert "failed" in lines[2]
    assert not any(character in "".join(lines) for character in DISGUISES)


def test_the_line_of_a_request_is_what_structlog_would_have_written() -> None:
    program = f"""
from contracts.process import log
for is_set_up in (False, True):
    if is_set_up: log.configure("demo", rank=3)
    with log.bound(job_id="j", path="outer"):
        for write in (log.line, log.get().info):
            write("request_served", path={DISGUISES!a} + "小船", status=200, ms=1.5)
"""
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, env=environment(), capture_output=True, check=True
    )
    times = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{6}Z)?")
    ours, structlogs, *rest = times.sub("NOW", run.stdout.decode()).split("\n")
    assert ours == structlogs != ""
    assert rest[0] == rest[1]
    assert json.loads(rest[0]) | {"path": ""} == {
        "event": "request_served", "path": "", "status": 200, "ms": 1.5, "job_id": "j", "service": "demo", "rank": 3,
        "level": "info", "timestamp": "NOW",
    }  # fmt: skip


LEVELS = """
import os, sys
from contracts.process import log, start
start.configure("demo", own_stdout=True)
for level in ("debug", "info", "warning", "error"):
    getattr(log.get(), level)("said", by="get")
    log.line("said", level=level, by="line")
print("from a library")
os.write(1, b"from a library in C\\n")
sys.stderr.write("to stderr\\n")
"""


def levels(**variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LEVELS], cwd=REPOSITORY, env=environment(**variables), capture_output=True, text=True,
        check=True,
    )  # fmt: skip


@pytest.mark.parametrize(("asked", "seen"), [("debug", 4), ("", 3), ("error", 1)])
def test_lines_below_the_level_that_is_asked_for_are_not_written(asked: str, seen: int) -> None:
    lines = [json.loads(line) for line in levels(LOG_LEVEL=asked).stdout.splitlines()]
    written = ["debug", "info", "warning", "error"][-seen:]
    both = [(level, by) for level in written for by in ("get", "line")]
    assert [(line["level"], line["by"]) for line in lines] == both


def test_standard_output_is_the_logs_alone() -> None:
    run = levels()
    assert all(line.startswith("{") for line in run.stdout.splitlines())
    assert {"from a library", "from a library in C", "to stderr"} <= set(run.stderr.splitlines())


def test_a_file_may_be_for_people() -> None:
    run = levels(LOG_FORMAT="console")
    assert "said" in run.stdout
    assert "by=line" in run.stdout
    assert not any(line.startswith("{") or "\x1b" in line for line in run.stdout.splitlines())


@pytest.mark.parametrize("variable", ["LOG_LEVEL", "LOG_FORMAT"])
def test_a_wrong_level_or_format_ends_the_start_by_name(variable: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "ops.events", "0" * 32], cwd=REPOSITORY, env=environment(**{variable: "loud"}),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == EX_CONFIG
    assert run.stderr.startswith(f"{variable} was loud; it may be ")
