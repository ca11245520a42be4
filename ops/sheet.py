"""Frames of a video beside and below each other on one picture. Knows no service."""

from pathlib import Path
from typing import cast

import av
from PIL import Image

COLUMNS, ROWS = 4, 3
FRAME_PX_MAX = 480


def contact_sheet(video: Path) -> Image.Image:
    """Twelve frames of a file, evenly spread from its first to its last; large ones are made smaller."""
    with av.open(video) as container:
        frames = [_small(frame) for frame in container.decode(video=0)]
    chosen = [frames[round(index * (len(frames) - 1) / (COLUMNS * ROWS - 1))] for index in range(COLUMNS * ROWS)]
    width, height = frames[0].size
    sheet = Image.new("RGB", (COLUMNS * width, ROWS * height))
    for index, frame in enumerate(chosen):
        sheet.paste(frame, (index % COLUMNS * width, index // COLUMNS * height))
    return sheet


def _small(frame: av.VideoFrame) -> Image.Image:
    image = cast(Image.Image, frame.to_image())  # pyright: ignore[reportUnknownMemberType]
    image.thumbnail((FRAME_PX_MAX, FRAME_PX_MAX))
    return image
