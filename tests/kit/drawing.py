"""Draw the panels of the dashboard over a run as one SVG: for the page of ops, from what Prometheus answered."""

from collections.abc import Mapping, Sequence
from html import escape

from tests.kit.prometheus import Series

COLUMNS = 3
WIDTH_PX, HEIGHT_PX, TITLE_PX, MARGIN_PX = 380, 150, 20, 14
LEGEND_PX = 14
GAP_S = 2.5
LEGENDS_MAX = 4
FONT = 'font-family="sans-serif" font-size="11"'
COLOURS = ("#0969da", "#cf222e", "#1a7f37", "#9a6700", "#8250df", "#57606a", "#bf3989", "#0a7ea4")

Lines = Mapping[str, Series]


def drawn(panels: Sequence[tuple[str, Lines]], began: float, ended: float) -> str:
    """Return the SVG: a plot for each panel, in rows, whose lines have names. Times are in seconds from `began`."""
    rows = -(-len(panels) // COLUMNS)
    cell = TITLE_PX + HEIGHT_PX + LEGEND_PX * LEGENDS_MAX + MARGIN_PX
    width, height = COLUMNS * (WIDTH_PX + 2 * MARGIN_PX), rows * cell + MARGIN_PX
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" {FONT}>',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for at, (title, lines) in enumerate(panels):
        left = (at % COLUMNS) * (WIDTH_PX + 2 * MARGIN_PX) + MARGIN_PX
        place = left, (at // COLUMNS) * cell + MARGIN_PX
        parts += _panel(title, lines, place, (began, ended))
    return "\n".join([*parts, "</svg>\n"])


def _panel(title: str, lines: Lines, place: tuple[int, int], times: tuple[float, float]) -> list[str]:
    (left, top), (began, ended) = place, times
    plot_top = top + TITLE_PX
    highest = max((value for series in lines.values() for _, value in series), default=0.0) or 1.0
    parts = [
        f'<text x="{left}" y="{top + 12}" font-weight="bold">{escape(title)}</text>',
        f'<text x="{left + WIDTH_PX}" y="{top + 12}" text-anchor="end" fill="#57606a">up to {_figure(highest)}</text>',
        f'<rect x="{left}" y="{plot_top}" width="{WIDTH_PX}" height="{HEIGHT_PX}" fill="none" stroke="#d0d7de"/>',
    ]
    if not lines:
        parts.append(f'<text x="{left + 8}" y="{plot_top + 20}" fill="#57606a">nothing to show</text>')
    for index, (name, series) in enumerate(lines.items()):
        colour = COLOURS[index % len(COLOURS)]
        for piece in _pieces(series):
            points = " ".join(
                f"{left + WIDTH_PX * (at - began) / (ended - began):.1f},"
                f"{plot_top + HEIGHT_PX - (HEIGHT_PX - 4) * max(value, 0.0) / highest:.1f}"
                for at, value in piece
            )
            parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        if index < LEGENDS_MAX:
            y = plot_top + HEIGHT_PX + LEGEND_PX * (index + 1)
            more = (
                f" and {len(lines) - LEGENDS_MAX} more" if index == LEGENDS_MAX - 1 and len(lines) > LEGENDS_MAX else ""
            )
            parts.append(f'<text x="{left}" y="{y}" fill="{colour}">{escape(name[:60])}{more}</text>')
    return parts


def _pieces(series: Series) -> list[Series]:
    """Return a series cut where it has no values for a while."""
    pieces: list[Series] = [[]]
    for at, value in series:
        if pieces[-1] and at - pieces[-1][-1][0] > GAP_S:
            pieces.append([])
        pieces[-1].append((at, value))
    return pieces


def _figure(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.3g}"
