"""Draws what saving costs in quality: a bar for each variant, and a scatter plot of the attention cache's rules."""

from PIL import Image, ImageDraw, ImageFont

from ops.bench.report.likeness import DB_MAX, QualityRow, decibels

LINE_PX = 22
NAME_PX, BAR_PX, VALUE_PX = 250, 300, 60
FIELD_PX = 420
EDGE_PX = 40
DOT_PX = 4
COLOURS = ("#1f6feb", "#cf222e")


def plot(rows: list[QualityRow]) -> Image.Image:
    """Return the picture: a bar for each row on the left, on the right those whose name begins with `cache` as dots."""
    left = NAME_PX + BAR_PX + VALUE_PX
    height = max(LINE_PX * (len(rows) + 2), FIELD_PX)
    sheet = Image.new("RGB", (left + FIELD_PX, height), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    _bars(pen, font, rows)
    _field(pen, font, [row for row in rows if row.name.startswith("cache")], left)
    return sheet


def _bars(pen: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, rows: list[QualityRow]) -> None:
    """Draw each row's name, and its PSNR as a bar and in figures, from the left edge."""
    pen.text((6, 4), "PSNR against the exact run (of so many steps), dB", fill="black", font=font)
    for index, row in enumerate(rows, start=1):
        top = LINE_PX * index + 4
        pen.text((6, top + 1), f"{row.name} ({row.steps})", fill="black", font=font)
        end = NAME_PX + BAR_PX * max(0.0, row.psnr_db) / DB_MAX
        pen.rectangle((NAME_PX, top, end, top + LINE_PX - 6), fill=COLOURS[0])
        pen.text((NAME_PX + BAR_PX + 8, top + 1), decibels(row.psnr_db), fill="black", font=font)


def _field(
    pen: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, rows: list[QualityRow], left: int
) -> None:
    """Draw PSNR (upwards) over the share of attention that is computed, from `left` pixels on, if there are rows.

    Each count of steps has a colour.
    """
    if not rows:
        return
    counts = sorted({row.steps for row in rows}, reverse=True)
    low, high = min(row.psnr_db for row in rows) - 1, max(row.psnr_db for row in rows) + 1
    least, most = min(row.attention for row in rows) - 0.05, 1.0
    side = FIELD_PX - 2 * EDGE_PX
    pen.rectangle((left + EDGE_PX, EDGE_PX, left + FIELD_PX - EDGE_PX, FIELD_PX - EDGE_PX), outline="#d0d7de")
    pen.text((left + EDGE_PX, 4), "attention cache: dB over share of attention computed", fill="black", font=font)
    pen.text((left + EDGE_PX, FIELD_PX - EDGE_PX + 4), f"{100 * least:.0f} %", fill="black", font=font)
    pen.text((left + FIELD_PX - EDGE_PX - 30, FIELD_PX - EDGE_PX + 4), "100 %", fill="black", font=font)
    pen.text((left + 4, EDGE_PX), f"{high:.0f} dB", fill="black", font=font)
    pen.text((left + 4, FIELD_PX - EDGE_PX - 14), f"{low:.0f} dB", fill="black", font=font)
    for row in rows:
        x = left + EDGE_PX + side * (row.attention - least) / (most - least)
        y = EDGE_PX + side * (high - row.psnr_db) / (high - low)
        colour = COLOURS[counts.index(row.steps) % len(COLOURS)]
        pen.ellipse((x - DOT_PX, y - DOT_PX, x + DOT_PX, y + DOT_PX), fill=colour)
        pen.text((x + 6, y - 8), row.name.removeprefix("cache "), fill=colour, font=font)
