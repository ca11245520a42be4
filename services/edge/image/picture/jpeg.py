"""JPEG: the segments that pixels need, up to the end marker, counted before a decoder sees them. Pure.

Decoders read a file segment by segment, partly in Python, and each scan is a pass over all pixels: a small file of very
many parts is costly to decode. Data behind the end marker (a film, a depth map) does not belong to the picture.
"""

import re
from collections.abc import Iterator

from services.edge.image.picture import exif
from services.edge.image.picture.essence import DAMAGED, PROFILE_BYTES_MAX, UPRIGHT, Essence, Refused

SEGMENTS_MAX = 4096
FILL_BYTES_MAX = 64 * 1024

_MARKER = re.compile(rb"\xff++(?![\x00\xd0-\xd7])", re.DOTALL)
"""Any marker, except those of a restart and the escape for a byte 0xFF in compressed data."""
_SOI, _EOI, _SOS, _APP0, _APP1, _APP15, _COM = 0xD8, 0xD9, 0xDA, 0xE0, 0xE1, 0xEF, 0xFE
_NO_LENGTH = (0x01, _SOI)
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_APP2 = 0xE2
_KEPT = {_APP0: (b"JFIF\0", 14), 0xEE: (b"Adobe", 12)}
"""The application segments that a decoder needs: their beginning, and the length below which libjpeg skips them."""
_ICC = b"ICC_PROFILE\0"
_ICC_HEAD_BYTES = len(_ICC) + 2
"""The name, the number of a part, and how many parts there are."""
COEFFICIENTS = 64
_WIDE_BITS = (12, 16)


def essence(data: bytes) -> Essence:
    """Return the essence of a JPEG. Raises `Refused` for a damaged file, one of too many parts, or of wide samples."""
    kept = [data[:2]]
    turned, passes, coded, kind, parts = None, 0, _Coded(), 0, list[bytes]()
    for kind, segment, scan in _segments(data):
        body = segment[4:]
        if kind == _SOS:
            passes += 1
            coded.count_scan(body)
        elif kind == _APP1:
            turned = exif.orientation(body) if turned is None and body[:4] == b"Exif" else turned
        elif kind == _APP2 and passes == 0 and body.startswith(_ICC) and len(body) > _ICC_HEAD_BYTES:
            parts.append(body[len(_ICC) :])
        else:
            coded.count_frame(kind, body)
        if _is_needed(kind, body):
            kept += [segment, scan]
    if kind == _SOS:  # the file ends within its last scan
        kept[-1] = kept[-1].rstrip(b"\xff")
        if not coded.is_whole:
            raise Refused(DAMAGED)
    return Essence(
        data=b"".join(kept),
        format="JPEG",
        orientation=UPRIGHT if turned is None else turned,
        profile=_profile(parts),
        passes=passes,
        is_open_ended=kind == _SOS,
    )


def _segments(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield each segment up to the end marker: its kind, its bytes, and the compressed data behind it, if a scan's.

    A kind is the marker's second byte; the bytes begin with the marker. Raises `Refused` for too many segments, or too
    much filling between them.
    """
    segments = fill = 0
    at, kind, begin = 2, 0, 2
    while (marker := _MARKER.search(data, at)) is not None and marker.end() < len(data):
        segments += 1
        fill += len(marker[0]) - 1 + (0 if kind == _SOS else marker.start() - at)
        if segments > SEGMENTS_MAX:
            raise Refused(f"it has more than {SEGMENTS_MAX} segments")
        if fill > FILL_BYTES_MAX:
            raise Refused(f"it has more than {FILL_BYTES_MAX // 1024} kB of filling")
        if segments > 1:
            yield kind, data[begin:at], data[at : marker.start()] if kind == _SOS else b""
        kind, begin, at = data[marker.end()], marker.end() - 1, marker.end() + 1
        if kind == _EOI:
            break
        if kind not in _NO_LENGTH:
            at += int.from_bytes(data[at : at + 2])
    yield kind, data[begin:at], data[at:] if kind == _SOS else b""


def _profile(parts: list[bytes]) -> bytes | None:
    """Return the ICC profile of these parts (number, count, bytes); None if a part is missing, doubled or contradicts.

    Parts behind the last one that is needed are ignored.
    """
    found: dict[int, bytes] = {}
    for part in parts:
        number, count = part[0], part[1]
        if count != parts[0][1] or not 1 <= number <= count or number in found:
            return None
        found[number] = part[2:]
        if len(found) == count:
            profile = b"".join(found[at] for at in sorted(found))
            return profile if len(profile) <= PROFILE_BYTES_MAX else None
    return None


def _is_needed(kind: int, body: bytes) -> bool:
    """Return whether a decoder needs this segment. `body` is the segment without its marker and length."""
    if kind in _KEPT:
        begin, bytes_min = _KEPT[kind]
        return body.startswith(begin) and len(body) >= bytes_min
    return not _APP0 <= kind <= _APP15 and kind != _COM


class _Coded:
    """Notes which coefficients of each component the scans have coded. One for each file."""

    def __init__(self) -> None:
        self._is_progressive = False
        self._components = 0
        self._missing: dict[int, set[int]] = {}

    def count_frame(self, kind: int, body: bytes) -> None:
        """Take note of a frame's header. Raises `Refused` for samples of more than 8 bits."""
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC) and len(body) >= 6:
            if body[0] in _WIDE_BITS:
                raise Refused(f"this is a JPEG of {body[0]}-bit samples, which is not read here")
            self._is_progressive, self._components = kind in _PROGRESSIVE, body[5]

    def count_scan(self, body: bytes) -> None:
        """Take note of a scan's header. A coefficient is complete once a scan has coded its lowest bit."""
        count = body[0] if body else 0
        if len(body) < 4 + 2 * count:
            return
        first, last, approximation = body[1 + 2 * count : 4 + 2 * count]
        if not self._is_progressive:
            first, last, approximation = 0, COEFFICIENTS - 1, 0
        for component in body[1 : 1 + 2 * count : 2]:
            missing = self._missing.setdefault(component, set(range(COEFFICIENTS)))
            if approximation & 0x0F == 0:
                missing -= set(range(first, last + 1))

    @property
    def is_whole(self) -> bool:
        """Return whether the last scan of every coefficient of every component has begun."""
        return len(self._missing) >= self._components and not any(self._missing.values())
