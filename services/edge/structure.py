"""What a picture's file is made of, told from its markers and chunks before a decoder sees it. Pure.

Decoders read a file part by part, some of them in Python: a cheap file of very many parts is dear to decode.
"""

import re
import struct

JPEG_SEGMENTS_MAX = 4096
JPEG_FILL_BYTES_MAX = 64 * 1024
PNG_CHUNKS_MAX = 64 * 1024
WEBP_CHUNKS_MAX = 1024

_JPEG_MARKER = re.compile(rb"\xff++(?![\x00\xd0-\xd7])", re.DOTALL)
"""Any but the markers of a restart and what stands for a byte 0xFF in compressed data."""
_EOI, _SOS = 0xD9, 0xDA
_NO_LENGTH = (0x01, 0xD8)


class TooManyParts(ValueError):
    """The text says of what, and is safe to show."""


def jpeg_scans(data: bytes) -> int:
    """How many scans a JPEG has, each of them a pass over all its pixels. Raises `TooManyParts`."""
    scans = segments = fill = 0
    at, in_scan = 2, False
    while (marker := _JPEG_MARKER.search(data, at)) is not None and marker.end() < len(data):
        kind = data[marker.end()]
        segments += 1
        fill += len(marker[0]) - 1 + (0 if in_scan else marker.start() - at)
        if segments > JPEG_SEGMENTS_MAX:
            raise TooManyParts(f"it has more than {JPEG_SEGMENTS_MAX} segments")
        if fill > JPEG_FILL_BYTES_MAX:
            raise TooManyParts(f"it has more than {JPEG_FILL_BYTES_MAX // 1024} kB of filling")
        if kind == _EOI:
            break
        at = marker.end() + 1
        if kind not in _NO_LENGTH:
            at += int.from_bytes(data[at : at + 2])
        in_scan = kind == _SOS
        scans += in_scan
    return scans


def check_png(data: bytes) -> None:
    """Raises `TooManyParts`."""
    _check_chunks(data, at=8, length_at=0, form=">I", around_bytes=12, even=False, chunks_max=PNG_CHUNKS_MAX)


def check_webp(data: bytes) -> None:
    """Raises `TooManyParts`."""
    _check_chunks(data, at=12, length_at=4, form="<I", around_bytes=8, even=True, chunks_max=WEBP_CHUNKS_MAX)


def _check_chunks(
    data: bytes, at: int, *, length_at: int, form: str, around_bytes: int, even: bool, chunks_max: int
) -> None:
    for _ in range(chunks_max):
        if at + length_at + 4 > len(data):
            return
        at += around_bytes + struct.unpack_from(form, data, at + length_at)[0]
        at += at % 2 if even else 0
    raise TooManyParts(f"it has more than {chunks_max} chunks")
