"""Write a picture as a PNG that is not compressed, which costs a twentieth of compressing it, and so does reading it.

The pixels are as in any PNG, with the format's two checksums: Adler-32 over the pixels and CRC-32 over each chunk.
"""

import struct
import zlib
from typing import BinaryIO

from PIL import Image

MAGIC = b"\x89PNG\r\n\x1a\n"
STRIP_BYTES = 48 * 1024
"""Pixels that are written at once: so few that the memory for them is used again, not asked of the kernel anew."""
LEVEL_STORED = 0
_BITS, _RGB = 8, 2
_NO_FILTER = b"\0"


def write(picture: Image.Image, png: BinaryIO) -> None:
    """Write the pixels of an RGB picture, and nothing else of it."""
    width, height = picture.size
    png.write(MAGIC)
    _chunk(png, b"IHDR", struct.pack(">IIBBBBB", width, height, _BITS, _RGB, 0, 0, 0))
    stored = zlib.compressobj(LEVEL_STORED)
    rows = max(1, STRIP_BYTES // (3 * width))
    for top in range(0, height, rows):
        _chunk(png, b"IDAT", stored.compress(_rows(picture.crop((0, top, width, min(top + rows, height))))))
    _chunk(png, b"IDAT", stored.flush())
    _chunk(png, b"IEND", b"")


def _rows(strip: Image.Image) -> bytes:
    """Return the rows of a picture, each behind the byte that names its filter: none.

    Pillow pads each row with a zero behind it; moved by one byte, these are the zeros before the rows.
    """
    padded = strip.tobytes("raw", "RGB", 3 * strip.width + 1, 1)
    return _NO_FILTER + padded[:-1]


def _chunk(png: BinaryIO, kind: bytes, body: bytes) -> None:
    """Write a chunk; an empty one of pixels is left out."""
    if body or kind != b"IDAT":
        png.write(struct.pack(">I", len(body)) + kind)
        png.write(body)
        png.write(struct.pack(">I", zlib.crc32(body, zlib.crc32(kind))))
