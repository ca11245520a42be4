import json
import subprocess
import sys

from contracts import log
from tests.conftest import REPOSITORY, environment


def test_a_url_is_logged_without_query_credentials_or_body() -> None:
    assert log.without_query("https://user:secret@host.example:8443/a.png?token=secret") == "https://host.example/a.png"
    assert log.without_query("data:image/png;base64,c2VjcmV0") == "data:…"
    assert "secret" not in log.without_query("http://[secret")


def test_lines_are_json_and_carry_what_is_bound() -> None:
    program = """
import logging, warnings
from contracts import log
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
