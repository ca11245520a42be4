"""Draws the ratios of a benchmark's rows as an SVG. `engine` writes it.

A dot is the median, a line the quartiles, a stroke the aim.
"""

from collections.abc import Callable, Iterable
from html import escape
from math import ceil, log2

from ops.bench.report.row import Row, Verdict

LINE_PX = 24
TEXT_PX = 480
PLOT_PX = 520
MARGIN_PX = 30
COLOURS = {
    Verdict.NO_AIM: "#57606a",
    Verdict.MET: "#1a7f37",
    Verdict.WITHIN_SPREAD: "#9a6700",
    Verdict.MISSED: "#cf222e",
}


def plot(rows: Iterable[Row]) -> str:
    """Return the SVG; its scale is in powers of two. Rows without a second series, or with a 0, are left out."""
    shown = [row for row in rows if row.under is not None and min(row.ratios) > 0]
    marks = [value for row in shown for value in (row.ratio, *row.spread, *([row.aim.value] if row.aim else []))]
    octaves = max([1, *(ceil(abs(log2(value))) for value in marks)])
    width, height = TEXT_PX + PLOT_PX + 2 * MARGIN_PX, LINE_PX * (len(shown) + 2)

    def x(ratio: float) -> float:
        return TEXT_PX + MARGIN_PX + PLOT_PX * (log2(ratio) + octaves) / (2 * octaves)

    font = 'font-family="sans-serif" font-size="12"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" {font}>',
            '<rect width="100%" height="100%" fill="white"/>',
            *(_gauge(2.0**power, x(2.0**power), height) for power in range(-octaves, octaves + 1)),
            *(_line(row, LINE_PX * at, x) for at, row in enumerate(shown, start=1)),
            "</svg>\n",
        ]
    )


def _gauge(ratio: float, x: float, height: int) -> str:
    """Return a vertical line of the scale at `x`, with its ratio below."""
    return (
        f'<path d="M{x:.1f} {LINE_PX / 2}V{height - LINE_PX}" stroke="#d0d7de"/>'
        f'<text x="{x:.1f}" y="{height - 8}" text-anchor="middle">{ratio:g}</text>'
    )


def _line(row: Row, y: int, x: Callable[[float], float]) -> str:
    """Return a row's line of the plot at height `y`; `x` turns a ratio into pixels."""
    lower, upper = map(x, row.spread)
    colour = COLOURS[row.verdict]
    under = "" if row.under is None else row.under.name
    title = escape(f"{row.part}, {row.what}: {row.over.name} / {under} = {row.ratio:.2f}")
    aim = "" if row.aim is None else f'<path d="M{x(row.aim.value):.1f} {y - 8}v16" stroke="black"/>'
    return (
        f'<text x="{TEXT_PX}" y="{y + 4}" text-anchor="end">{title}</text>{aim}'
        f'<path d="M{lower:.1f} {y}H{upper:.1f}" stroke="{colour}" stroke-width="3"/>'
        f'<circle cx="{x(row.ratio):.1f}" cy="{y}" r="4" fill="{colour}"/>'
    )
