"""Writes a training's losses as a file and a plot: `python -m inference.pocket.training.curve [STATE ...]`.

Writes `curve.json`, with which a test compares the beginning of a training, and `curve.png`, in `inference/pocket`.
"""

import json
import math
import sys
from itertools import pairwise
from pathlib import Path

import msgspec
from msgspec import Struct
from PIL import Image, ImageDraw, ImageFont

from inference.pocket.training.stage import losses
from inference.pocket.training.train import STATE

CURVE = Path(__file__).parents[1] / "curve.json"
PLOT = Path(__file__).parents[1] / "curve.png"
STAGES = ("linear", "vae-pictures", "vae-clips", "text", "transformer-small", "transformer-full")
FINISHING = ("finish-vae", "finish-transformer")
# The first losses are kept singly, for comparison with another run; all are averaged over so many steps.
SINGLE_STEPS = 8
MEAN_OF_STEPS = 25
PANEL_PX = (320, 200)
EDGE_PX = 28


class Line(Struct, frozen=True):
    """The curve of one stage: number of steps, first losses, and the mean loss of every 25 steps."""

    steps: int
    first: list[float]
    means: list[float]


Curve = dict[str, Line]


def curve(*folders: Path) -> Curve:
    """Return the curves, by stage, of all stages that have begun in one of the state folders."""
    found = ((name, losses(folder, name)) for folder in folders for name in STAGES + FINISHING)
    return {name: _condensed(values) for name, values in found if values}


def _condensed(found: list[float]) -> Line:
    """Return the curve of a stage's losses, rounded to five decimals."""
    parts = [found[at : at + MEAN_OF_STEPS] for at in range(0, len(found), MEAN_OF_STEPS)]
    means = [sum(part) / len(part) for part in parts]
    return Line(len(found), [round(loss, 5) for loss in found[:SINGLE_STEPS]], [round(mean, 5) for mean in means])


def plot(curves: Curve) -> Image.Image:
    """Return a plot with one panel per stage and losses on a logarithmic scale."""
    rows = math.ceil(len(curves) / 2)
    sheet = Image.new("RGB", (2 * PANEL_PX[0], rows * PANEL_PX[1]), "white")
    for index, (name, found) in enumerate(curves.items()):
        panel = _panel(name, found)
        sheet.paste(panel, (index % 2 * PANEL_PX[0], index // 2 * PANEL_PX[1]))
    return sheet


def _panel(name: str, line: Line) -> Image.Image:
    """Return the plot of one stage, with its name, range and number of steps."""
    means = line.means
    panel = Image.new("RGB", PANEL_PX, "white")
    pen, font = ImageDraw.Draw(panel), ImageFont.load_default(11)
    width, height = PANEL_PX[0] - 2 * EDGE_PX, PANEL_PX[1] - 2 * EDGE_PX
    low, high = math.log(min(means)), math.log(max(means))
    points = [
        (
            EDGE_PX + width * index / max(1, len(means) - 1),
            EDGE_PX + height * (high - math.log(mean)) / max(1e-9, high - low),
        )
        for index, mean in enumerate(means)
    ]
    pen.rectangle((EDGE_PX, EDGE_PX, EDGE_PX + width, EDGE_PX + height), outline=(190, 190, 190))
    for start, end in pairwise(points):
        pen.line([start, end], fill=(30, 90, 170), width=2)
    pen.text((EDGE_PX, 8), f"{name}: {max(means):.4g} to {min(means):.4g}", fill="black", font=font)
    pen.text((EDGE_PX, PANEL_PX[1] - 20), f"{line.steps} steps", fill="black", font=font)
    return panel


def _a_line_each(curves: Curve) -> str:
    """Return the curves as JSON with a line for each stage."""
    lines = (f" {json.dumps(name)}: {msgspec.json.encode(found).decode()}" for name, found in curves.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main(arguments: list[str]) -> None:
    """Write `CURVE` and `PLOT` from the state folders in the arguments, by default `STATE`, and print their paths.

    Ends the process if no stage has begun.
    """
    curves = curve(*map(Path, arguments or [STATE]))
    if not curves:
        raise SystemExit("no training has left its losses there")
    CURVE.write_text(_a_line_each(curves))
    plot(curves).save(PLOT)
    print(f"{', '.join(curves)}: {CURVE}, {PLOT}")  # noqa: T201 - the command's output


if __name__ == "__main__":
    main(sys.argv[1:])
