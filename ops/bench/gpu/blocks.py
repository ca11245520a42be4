"""Measures the blocks of a 14B transformer on a card against the stock pipeline: `… blocks card|dry VARIANT…`.

The measuring is `just bench-engine --parts card`, with few layers, since all blocks are alike: seconds of a step, peak
memory, and operations a second, here also against the peak of the card. `__main__` starts it once for what runs as it
is, and once for what is compiled, so that a compiler that fails or takes long costs only its own rows.
"""

import sys

import torch
from msgspec.structs import replace

from inference.ranks import device
from ops.bench.gpu.finding import write
from ops.bench.gpu.peaks import peak_of
from ops.bench.parts import card
from ops.bench.report.row import Row, Series
from ops.bench.setup import Setup

SETUP = Setup(shape="14b", layers=2, size="1280*720", frames=81, steps=3, count=1)
DRY_SETUP = Setup(shape="tiny", layers=1, size="64*48", frames=5, steps=3, count=1)


def main(part: str, mode: str, *variants: str) -> None:
    """Write the rows of the variants against the stock pipeline, as rows of this part."""
    setup = replace(DRY_SETUP if mode == "dry" else SETUP, variants=variants)
    here = device.choose(0)
    peak = peak_of(torch.cuda.get_device_name(here)) if here.type == "cuda" else None
    for row in card.measure(setup):
        named = replace(row, part=part, what=f"{row.what}, {setup.layers} layers")
        write(named)
        if row.unit == "TFLOP/s" and peak is not None:
            write(_against(named, peak.bf16_tflops))


def _against(row: Row, peak_tflops: float) -> Row:
    """Return the row with the card's peak as its second series."""
    return replace(row, under=Series("peak", [peak_tflops] * len(row.over.samples)), aim=None)


if __name__ == "__main__":
    main(*sys.argv[1:])
