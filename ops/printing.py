"""Prints for people: times as words, and an end without a traceback if who reads has left. For `queue` and `watch`."""

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def reader_may_leave() -> Generator[None, None, None]:
    """End the process without a word, with exit code 0, if standard output has no reader any more, as after `head`."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for Python's own flush at the end
        raise SystemExit(0) from None


def span(seconds: float) -> str:
    """Return a time in its two largest units: `22 s`, `3 min 5 s`, `2 h 10 min` or `3 d 4 h`; none is below 0."""
    whole = max(0, int(seconds))
    for size, unit, smaller, name in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // smaller} {name}"
    return f"{whole} s"
