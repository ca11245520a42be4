"""Draws the picture that the demo animates: a sailing boat before hills at sunset, the same at every call.

`python -m ops.local.sample_image FILE` writes it to a file.
"""

import io
import sys
from itertools import pairwise
from math import sin

from PIL import Image, ImageDraw, ImageFilter

WIDTH, HEIGHT = 768, 432
HORIZON = 262
SUN = (556, 214)

# On a contact sheet a turn is seen at first glance; pans and zooms show as little more than blur.
PROMPT = "A small sailing boat on a calm sea at sunset, the picture turns clockwise"

Colour = tuple[int, int, int]


def landscape() -> Image.Image:
    """Return the drawn picture, `WIDTH` × `HEIGHT`."""
    picture = Image.new("RGB", (WIDTH, HEIGHT))
    _blend(picture, 0, HORIZON, (58, 84, 152), (255, 196, 128))
    _sun(picture)
    pen = ImageDraw.Draw(picture)
    _hills(pen, 66, 0.011, 0.8, (126, 110, 148))
    _hills(pen, 38, 0.017, 2.9, (84, 78, 118))
    _blend(picture, HORIZON, HEIGHT, (226, 158, 116), (24, 52, 96))
    _glitter(pen)
    _boat(pen, 250, 318)
    return picture.filter(ImageFilter.GaussianBlur(0.6))  # smooths the jagged edges


def sample() -> bytes:
    """Return the drawn picture as PNG."""
    png = io.BytesIO()
    landscape().save(png, "PNG")
    return png.getvalue()


def _blend(picture: Image.Image, top: int, bottom: int, above: Colour, below: Colour) -> None:
    """Fill the rows from `top` to before `bottom` with a gradient from the colour `above` to `below`."""
    band = (WIDTH, bottom - top)
    how_far = Image.linear_gradient("L").resize(band)
    picture.paste(Image.composite(Image.new("RGB", band, below), Image.new("RGB", band, above), how_far), (0, top))


def _sun(picture: Image.Image) -> None:
    """Draw the sun and its glow at `SUN`."""
    glow = Image.new("L", picture.size)
    ImageDraw.Draw(glow).circle(SUN, 92, fill=150)
    glow = glow.filter(ImageFilter.GaussianBlur(34))
    picture.paste((255, 224, 160), mask=glow)
    ImageDraw.Draw(picture).circle(SUN, 34, fill=(255, 240, 200))


def _hills(pen: ImageDraw.ImageDraw, height: int, waves_per_px: float, phase: float, colour: Colour) -> None:
    """Fill a wavy ridge, at most 1.1 `height` pixels above the horizon, down to the horizon."""
    ridge = [
        (x, HORIZON - height * (0.55 + 0.3 * sin(x * waves_per_px + phase) + 0.15 * sin(2.7 * x * waves_per_px)))
        for x in range(0, WIDTH + 8, 8)
    ]
    pen.polygon([(0, HORIZON), *ridge, (WIDTH, HORIZON)], fill=colour)


def _glitter(pen: ImageDraw.ImageDraw) -> None:
    """Draw the sun's reflection on the water, in strokes that grow longer towards the viewer."""
    for row, y in enumerate(range(HORIZON + 4, HEIGHT, 9)):
        half = 12 + 2.6 * row + 9 * sin(2.1 * row)
        middle = SUN[0] + 7 * sin(1.7 * row)
        pen.line([(middle - half, y), (middle + half, y)], fill=(255, 214, 150), width=3)
    for row, (upper, lower) in enumerate(pairwise(range(HORIZON + 14, HEIGHT, 22))):
        for x in range(-40 + 53 * (row % 3), WIDTH, 150):
            pen.line([(x, (upper + lower) / 2), (x + 46 + 5 * row, (upper + lower) / 2)], fill=(92, 112, 150), width=2)


def _boat(pen: ImageDraw.ImageDraw, x: int, y: int) -> None:
    """Draw the boat with the middle of its waterline at (x, y)."""
    pen.polygon([(x - 62, y - 20), (x + 70, y - 20), (x + 46, y + 6), (x - 44, y + 6)], fill=(112, 52, 44))
    pen.line([(x - 62, y - 20), (x + 70, y - 20)], fill=(232, 214, 190), width=4)
    pen.line([(x, y - 20), (x, y - 158)], fill=(72, 50, 44), width=5)
    pen.polygon([(x + 5, y - 152), (x + 74, y - 32), (x + 5, y - 30)], fill=(250, 244, 232))
    pen.polygon([(x - 5, y - 140), (x - 54, y - 34), (x - 5, y - 30)], fill=(226, 118, 82))
    for row in range(4):  # the boat's reflection
        half = 52 - 11 * row
        pen.line([(x - half, y + 14 + 9 * row), (x + half, y + 14 + 9 * row)], fill=(96, 66, 82), width=3)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m ops.local.sample_image FILE")
    landscape().save(sys.argv[1])
