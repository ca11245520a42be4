"""Shows a benchmark's rows as a table in plain text. `engine` prints it."""

from collections.abc import Iterable, Sequence

from ops.bench.report.row import Row, Series

MEGABYTE = 1e6
HEAD = ("part", "what", "over", "under", "ratio", "spread", "aim", "met")


def table(rows: Iterable[Row]) -> str:
    """Return the table. The column `ratio` is the median of the rounds, `spread` their quartiles."""
    return aligned([HEAD, *map(_cells, rows)])


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Return lines of cells as text, every column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n" for line in lines
    )


def _cells(row: Row) -> tuple[str, ...]:
    """Return a row's cells under `HEAD`. Without a second series the spread and the aim are of the samples."""
    lower, upper = row.spread
    aim = "" if row.aim is None else f"{row.aim.sign} {row.aim.value:g}"
    alone = row.under is None
    unit = MEGABYTE if alone and row.unit == "bytes" else 1
    return (
        row.part,
        row.what,
        _value(row.over, row.unit),
        "" if row.under is None else _value(row.under, row.unit),
        "" if alone else f"{row.ratio:.3f}",
        f"{lower / unit:.3f}-{upper / unit:.3f}",
        f"{aim} {row.unit}" if alone else aim,
        row.verdict,
    )


def _value(series: Series, unit: str) -> str:
    """Return a series' name and median with its unit; bytes in MB."""
    if unit == "bytes":
        return f"{series.name}: {series.median / MEGABYTE:.0f} MB"
    return f"{series.name}: {series.median:.3g} {unit}"
