"""AVIF and HEIC, both files of boxes (ISO BMFF): the file without EXIF, and the colours in its metadata. Pure.

The EXIF block is hidden from the decoder, because decoders apply the orientation in the file's own properties.
"""

import struct
from collections.abc import Iterator

from services.edge.image.picture import icc
from services.edge.image.picture.essence import Essence

BOXES_MAX = 4096
_EXIF, _HIDDEN = b"Exif", b"skip"


def essence(data: bytes, form: str) -> Essence:
    """Return the essence of an AVIF or a HEIC (`form` is Pillow's name); without metadata, the file as it is."""
    span = next(((start, end) for kind, start, end in _boxes(data, 0, len(data)) if kind == b"meta"), None)
    if span is None:
        return Essence(data=data, format=form)
    meta = data[span[0] : span[1]]
    without_exif = data[: span[0]] + meta.replace(b"\0" + _EXIF, b"\0" + _HIDDEN) + data[span[1] :]
    return Essence(data=without_exif, format=form, profile=_profile(meta))


def _profile(meta: bytes) -> bytes | None:
    """Return the ICC profile of the picture's code points; None for sRGB or none, or if the decoder finds one."""
    at = meta.find(b"colrnclx")
    if at < 0 or b"colrprof" in meta or b"colrrICC" in meta or at + 12 > len(meta):
        return None
    return icc.of_code_points(*struct.unpack_from(">HH", meta, at + 8))


def _boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield each box between two places: its kind, and the begin and end of its content. Stop at a malformed box."""
    for _ in range(BOXES_MAX):
        if at + 8 > end:
            return
        length, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if length == 1 and at + 16 <= end:
            length, head = struct.unpack_from(">Q", data, at + 8)[0], 16
        stop = end if length == 0 else at + length
        if length and length < head:
            return
        yield kind, at + head, min(stop, end)
        at = stop
