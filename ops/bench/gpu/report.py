"""Shows a run of `just gpu` as text: the parts, the figures, the facts. Of a dry run no figure is shown. Pure."""

from collections.abc import Iterable, Sequence

from msgspec import Struct

from ops.bench.gpu.part import Outcome
from ops.bench.report.row import Row
from ops.bench.report.table import aligned, table

NO_CARD = (
    "NO CARD: nothing here is a measure of one.\n"
    "This was a dry run on a CPU at tiny sizes. It shows that the parts of the script run; no figure of it is kept.\n"
)
FOUND_CHARS_SHOWN = 120
GOOD = {None: "", True: "yes", False: "NO"}


class Report(Struct, frozen=True):
    """The JSON file of one run: what was found of each part, and the seconds of all."""

    seconds: float
    outcomes: list[Outcome]


def text(report: Report, *, dry: bool) -> str:
    """Return the report for people. A dry run names its figures, says loudly what it is, and shows no figure."""
    rows = [row for outcome in report.outcomes for row in outcome.rows]
    pieces = [
        NO_CARD if dry else "",
        f"{len(report.outcomes)} parts" + ("" if dry else f" in {report.seconds:.0f} s"),
        _parts(report.outcomes, dry=dry),
        _names(rows) if dry else table(rows),
        _facts(report.outcomes),
    ]
    return "\n".join(piece for piece in pieces if piece)


def _parts(outcomes: Sequence[Outcome], *, dry: bool) -> str:
    """Return the table of the parts: how long each took of how long it may take, and why it has not run to its end."""
    lines = [("part", "limit", *(() if dry else ("took",)), "ended")]
    for each in outcomes:
        took = () if dry else (f"{each.seconds:.0f} s",)
        lines.append((each.part, f"{each.limit_s:.0f} s", *took, each.failure or "in order"))
    return aligned(lines)


def _names(rows: Iterable[Row]) -> str:
    """Return the figures that a dry run has made, by name alone."""
    lines = [("part", "figure", "of", "against", "unit")]
    lines += [
        (row.part, row.what, row.over.name, "" if row.under is None else row.under.name, row.unit) for row in rows
    ]
    return aligned(lines)


def _facts(outcomes: Iterable[Outcome]) -> str:
    """Return the table of the facts, with whether each is good, that is as it should be."""
    lines = [("part", "what", "good", "found")]
    lines += [(fact.part, fact.what, GOOD[fact.good], _cut(fact.found)) for each in outcomes for fact in each.facts]
    return aligned(lines)


def _cut(words: str) -> str:
    """Return the words, cut after `FOUND_CHARS_SHOWN`; the JSON file has more of them."""
    return words if len(words) <= FOUND_CHARS_SHOWN else words[:FOUND_CHARS_SHOWN] + "…"
