"""A progress bar as one plain line of text: how many are done, how many a second, and how long the rest may take."""

import math
import time
from collections.abc import Callable
from typing import TextIO

from ops.printing import span

LINE_EVERY_S = 10.0
REDRAW_EVERY_S = 0.2
_CLEARED = "\r\x1b[K"


class ProgressLine:
    """The line of one task of `total` parts. On a terminal it is rewritten in place, else printed every `LINE_EVERY_S`.

    `clock` gives monotonic seconds.
    """

    def __init__(self, total: int, what: str, out: TextIO, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._total, self._what, self._out, self._clock = total, what, out, clock
        self._in_place = out.isatty()
        self._began = self._shown = clock()

    def show(self, done: int) -> None:
        """Print the line, if it is time, for so many parts that are done."""
        now = self._clock()
        if now - self._shown >= (REDRAW_EVERY_S if self._in_place else LINE_EVERY_S):
            self._shown = now
            text = progress_text(min(done, self._total), self._total, self._what, now - self._began)
            print(f"{_CLEARED}{text}" if self._in_place else text, end="" if self._in_place else "\n", file=self._out)
            self._out.flush()

    def clear(self) -> None:
        """Take the line off a terminal, for what is printed next."""
        if self._in_place:
            print(_CLEARED, end="", file=self._out, flush=True)


def progress_text(done: int, total: int, what: str, seconds: float) -> str:
    """Return the line after this many seconds, such as `12,000 of 100,000 events, 4,000/s, 22 s left`. Pure."""
    rate = done / seconds if seconds > 0 else 0.0
    left = f"{span(math.ceil((total - done) / rate))} left" if rate > 0 else "time left unknown"
    return f"{done:,} of {total:,} {what}, {rate:,.0f}/s, {left}"
