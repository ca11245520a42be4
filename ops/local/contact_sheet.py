"""Draws a contact sheet: frames of a video in rows on one picture, with times and a caption. The demo saves it."""

from pathlib import Path
from typing import cast

import av
from PIL import Image, ImageDraw, ImageFont

from ops.local.lettering import font_for, lines

COLUMNS, ROWS = 4, 3
FRAME_PX_MAX = 480
CAPTION_PX, TIME_PX = 15, 12
MARGIN_PX = 4
CAPTION_LINES_MAX = 12


def contact_sheet(video: Path, *caption: str) -> Image.Image:
    """Return a picture of twelve frames, evenly spread from the first to the last; large frames are scaled down.

    Each frame has its time in its lower left corner; frames repeat if there are fewer. Each text of the caption begins
    a line above the frames. Raises `OSError` or an `av.FFmpegError` if the video cannot be read.
    """
    with av.open(video) as container:
        frames = [(_small(frame), frame.time or 0.0) for frame in container.decode(video=0)]
    chosen = [frames[round(index * (len(frames) - 1) / (COLUMNS * ROWS - 1))] for index in range(COLUMNS * ROWS)]
    width, height = frames[0][0].size
    above = _caption(caption, COLUMNS * width)
    sheet = Image.new("RGB", (COLUMNS * width, above.height + ROWS * height))
    sheet.paste(above)
    for index, (frame, seconds) in enumerate(chosen):
        timed = _with_time(frame, seconds)
        sheet.paste(timed, (index % COLUMNS * width, above.height + index // COLUMNS * height))
    return sheet


def _small(frame: av.VideoFrame) -> Image.Image:
    """Return the frame as a picture with sides of at most `FRAME_PX_MAX`, its aspect kept."""
    image = cast(Image.Image, frame.to_image())  # pyright: ignore[reportUnknownMemberType]
    image.thumbnail((FRAME_PX_MAX, FRAME_PX_MAX))
    return image


def _with_time(frame: Image.Image, seconds: float) -> Image.Image:
    """Return a copy of the frame with the time in its lower left corner."""
    text, font = f"{seconds:.2f} s", ImageFont.load_default(TIME_PX)
    timed = frame.copy()
    pen = ImageDraw.Draw(timed)
    at = (MARGIN_PX, frame.height - MARGIN_PX)
    pen.text(at, text, fill="white", font=font, anchor="ls", stroke_width=1, stroke_fill="black")
    return timed


def _caption(texts: tuple[str, ...], width_px: int) -> Image.Image:
    """Return a picture of the texts, black on white, below each other, cut after `CAPTION_LINES_MAX` lines.

    Its height is 0 if there are no texts.
    """
    written = [
        (line, font)
        for font, text in (font_for(text, CAPTION_PX) for text in texts)
        for line in lines(text, font, width_px - 2 * MARGIN_PX)
    ][:CAPTION_LINES_MAX]
    line_px = CAPTION_PX + MARGIN_PX
    above = Image.new("RGB", (width_px, len(written) * line_px + 2 * MARGIN_PX if written else 0), "white")
    pen = ImageDraw.Draw(above)
    for row, (line, font) in enumerate(written):
        pen.text((MARGIN_PX, MARGIN_PX + row * line_px), line, fill="black", font=font)
    return above
