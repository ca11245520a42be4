import io

import pytest

from ops.progress import ProgressLine, progress_text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("done", "seconds", "text"),
    [
        (0, 0.0, "0 of 100,000 events, 0/s, time left unknown"),
        (12_000, 3.0, "12,000 of 100,000 events, 4,000/s, 22 s left"),
        (1000, 2.0, "1,000 of 100,000 events, 500/s, 3 min 18 s left"),
        (10, 1.0, "10 of 100,000 events, 10/s, 2 h 46 min left"),
        (100_000, 20.0, "100,000 of 100,000 events, 5,000/s, 0 s left"),
    ],
)
def test_the_line_says_count_rate_and_time_left(done: int, seconds: float, text: str) -> None:
    assert progress_text(done, 100_000, "events", seconds) == text


def shown(out: io.StringIO) -> str:
    """What a line prints that is shown ten times a second for 25 seconds."""
    now = 0.0
    line = ProgressLine(250, "events", out, clock=lambda: now)
    for tenth in range(1, 251):
        now = tenth / 10
        line.show(tenth)
    line.clear()
    return out.getvalue()


def test_elsewhere_than_on_a_terminal_a_line_comes_every_ten_seconds() -> None:
    assert shown(io.StringIO()) == "100 of 250 events, 10/s, 15 s left\n200 of 250 events, 10/s, 5 s left\n"


def test_on_a_terminal_the_line_is_rewritten_in_place() -> None:
    said = shown(Terminal())
    assert "\n" not in said
    assert said.count("\r\x1b[K") > 100
    assert said.endswith("\r\x1b[K")
