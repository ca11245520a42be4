from pathlib import Path

import pytest

from ops.local.last_line import last_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("one\ntwo\n", "two"),
        ("two\n=====\n\n", "two"),
        ('{"event": "loading", "gb": 3, "timestamp": "now", "service": "x", "level": "info"}\n', "loading gb=3"),
        ('{"text": "[1] [INF] Server is ready", "event": "text_printed"}\n', "[1] [INF] Server is ready"),
        ('{"event": "loading"}\n{"event": "request_served", "path": "/health"}\n', "loading"),
        ('{"a": 1}\n', '{"a": 1}'),
        ("a\x1b[31mb\n", "a\\u001b[31mb"),
        ("x" * 500, "x" * 160 + "…"),
    ],
)
def test_the_last_line_that_says_something_is_shown(text: str, shown: str, tmp_path: Path) -> None:
    (tmp_path / "log").write_text(text)
    assert last_line(tmp_path / "log") == shown


def test_a_line_of_an_earlier_run_is_not_shown(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("earlier\n")
    assert last_line(log, after=log.stat().st_size) == ""
    assert last_line(tmp_path / "none") == ""
