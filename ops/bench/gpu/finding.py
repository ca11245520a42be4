"""The findings of one part: figures (`Row`) and facts, written by the part as lines of JSON and read by `__main__`."""

import sys
from collections.abc import Iterable, Iterator

import msgspec
from msgspec import Struct

from ops.bench.report.row import Row

FOUND_CHARS_MAX = 300


class Fact(Struct, frozen=True, kw_only=True):
    """A finding that is no figure, such as how a job ended. `good` is None if nothing was expected of it."""

    part: str
    what: str
    found: str
    good: bool | None = None


class Finding(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line of a part's output, which is a row or a fact."""

    row: Row | None = None
    fact: Fact | None = None


def write(found: Row | Fact) -> None:
    """Write a row or a fact as a line of JSON to the standard output, at once: what is written outlives the part."""
    finding = Finding(row=found) if isinstance(found, Row) else Finding(fact=found)
    sys.stdout.write(msgspec.json.encode(finding).decode() + "\n")
    sys.stdout.flush()


def read(lines: Iterable[str]) -> Iterator[Finding]:
    """Yield the findings among the lines of a part's output; libraries may have printed other lines."""
    for line in lines:
        try:
            yield msgspec.json.decode(line, type=Finding)
        except msgspec.MsgspecError:
            continue


def reason(error: BaseException) -> str:
    """Return an error's type and the first line of its text, short enough for a table."""
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}"[:FOUND_CHARS_MAX]
