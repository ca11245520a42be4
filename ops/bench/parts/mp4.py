"""Measures our way from the decoded tensor to an mp4 against diffusers' own. `worker` calls `measure`."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from contracts.job import parse_size
from inference.leader.mp4 import write_mp4
from inference.ranks import device
from ops.bench import stock
from ops.bench.clock import seconds
from ops.bench.picture import film
from ops.bench.report.row import Aim, Row, Series
from ops.bench.setup import Setup
from ops.bench.turns import by_turns, warmed

HALF = Aim("≤", 0.5)


def measure(setup: Setup) -> Iterator[Row]:
    """Yield one row: the seconds from a tensor on the device to a file, ours over diffusers'."""
    here = device.choose(0)
    video_BCTHW = film(*parse_size(setup.film_size), setup.film_frames).to(here)
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = Path(folder) / "ours.mp4", Path(folder) / "stock.mp4"
        sides = {
            "ours": lambda: seconds(lambda: write_mp4(video_BCTHW[0], ours, lambda _frame: None), here),
            "stock": lambda: seconds(lambda: stock.to_mp4(video_BCTHW, theirs), here),
        }
        took = by_turns(warmed(sides), setup.count)
    what = f"tensor to mp4, {setup.film_size}×{setup.film_frames}"
    over, under = (Series(side, took[side]) for side in ("ours", "stock"))
    yield Row(part="mp4", what=what, unit="s", over=over, under=under, aim=HALF)
