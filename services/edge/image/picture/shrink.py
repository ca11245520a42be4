"""Shrink a picture that is far larger than any video made of it. Pure.

A cluster scales a picture to cover the video and crops the rest. Shrunk here, the picture keeps its aspect, and more
pixels than any video takes, so that the cluster still makes it smaller, and chooses the same size.
"""

from PIL import Image

COVER_PX_MIN = 1280
"""The longest side of the videos of Wan2.1. Models with longer sides say so in their heartbeats."""
FAR_LARGER = 2
"""A picture is shrunk if its shorter side is so many times the longest side of a video."""
KEPT, KEPT_MAX = 1.5, 1.75
"""The shorter side of what is kept, in longest sides of a video: at least, and at most."""
REDUCING_GAP = 1.25
"""Beyond so many times the size to keep, pixels are averaged in whole blocks first, which halves the cost."""
ASPECT_ERROR_MAX = 1e-5
"""A larger change of the aspect could be seen in the size of a video that keeps it (`contracts.job.output_size`)."""


def shrunk(picture: Image.Image, cover_px: int) -> Image.Image:
    """Return the picture in the size that videos with sides up to `cover_px` need; itself if that is near its own."""
    size = size_kept(*picture.size, cover_px)
    if size == picture.size:
        return picture
    return picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=REDUCING_GAP)


def size_kept(width: int, height: int, cover_px: int) -> tuple[int, int]:
    """Return the width and height to keep of a picture: of those that will do, the nearest in aspect.

    A picture near in size is kept whole, and so is one of an aspect that no size that will do has.
    """
    short, long = sorted((width, height))
    if short < FAR_LARGER * cover_px:
        return width, height

    def error(side: int) -> float:
        """Return the change of the aspect if this is the shorter side, as a share of it."""
        return abs(round(side * long / short) * short - side * long) / (side * long)

    kept = min(range(int(KEPT * cover_px), int(KEPT_MAX * cover_px)), key=error)
    if error(kept) > ASPECT_ERROR_MAX:
        return width, height
    other = round(kept * long / short)
    return (kept, other) if width == short else (other, kept)
