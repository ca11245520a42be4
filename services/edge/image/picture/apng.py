"""Detect animated PNGs. Pure.

A viewer that finds no sound animation shows the picture of IDAT, so a file with a broken animation is a still picture.
"""

import struct

FRAMES_MIN = 2
FRAMES_LIMIT = 2**31
_ACTL_BYTES, _FCTL_BYTES, _SEQUENCE_BYTES = 8, 26, 4


class Animation:
    """Counts the frames of one PNG while the file is read; `png` passes each sound chunk in turn."""

    def __init__(self) -> None:
        self._announced: int | None = None
        self._frames = 0
        self._is_frame_begun = False

    def add(self, kind: bytes, body: bytes | memoryview, size: tuple[int, int], *, has_pixels: bool) -> None:
        """Take note of a chunk. A frame counts once its control (fcTL) is followed by its data.

        `size` is the picture's width and height in pixels; `has_pixels` says that an IDAT came before.
        """
        if kind == b"acTL" and not has_pixels and self._announced is None and len(body) == _ACTL_BYTES:
            count = int.from_bytes(body[:4])
            self._announced = count if 0 < count < FRAMES_LIMIT else None
        elif kind == b"fcTL":
            self._is_frame_begun = _is_control(body, size)
        elif self._is_frame_begun and (kind == b"IDAT" or (kind == b"fdAT" and len(body) > _SEQUENCE_BYTES)):
            self._frames += 1
            self._is_frame_begun = False

    @property
    def is_real(self) -> bool:
        """Return whether the file announces several frames and has them."""
        return (self._announced or 0) >= FRAMES_MIN and self._frames >= FRAMES_MIN


def _is_control(body: bytes | memoryview, size: tuple[int, int]) -> bool:
    """Return whether this is the control of a frame that lies within the picture."""
    if len(body) != _FCTL_BYTES:
        return False
    width, height, left, top = struct.unpack_from(">4I", body, _SEQUENCE_BYTES)
    return width > 0 and left + width <= size[0] and height > 0 and top + height <= size[1]
