"""Pictures that are cheap to send and costly to decode."""

import functools
import io
import struct
import zlib

from PIL import Image

SIDES = (8192, 6103)  # 50 megapixels, all but a few
SCANS = 100
FILLING_BYTES = 19 * 1024**2


@functools.cache
def tiny_webp() -> bytes:
    """Return a lossless WebP of one colour, some 40 bytes."""
    file = io.BytesIO()
    Image.new("RGB", SIDES, "teal").save(file, "WEBP", lossless=True, quality=0, method=0)
    return file.getvalue()


@functools.cache
def many_scans() -> bytes:
    """A progressive JPEG of 50 megapixels with as many scans as may be: its last scan again and again."""
    file = io.BytesIO()
    Image.new("L", SIDES, 90).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    last = data.rindex(b"\xff\xda")
    head, scan = data[:last], data[last:-2]
    return head + scan * (SCANS - data.count(b"\xff\xda") + 1) + b"\xff\xd9"


def many_segments() -> bytes:
    """A JPEG that begins with five million empty segments."""
    return _plain()[:2] + struct.pack(">HH", 0xFFEF, 2) * (FILLING_BYTES // 4) + _plain()[2:]


def filled_jpeg() -> bytes:
    """A JPEG with filling before its first marker."""
    return _plain()[:2] + b"\xff" * FILLING_BYTES + _plain()[2:]


def junk_jpeg() -> bytes:
    """A JPEG with bytes that belong to nothing after its first segment."""
    end = 4 + int.from_bytes(_plain()[4:6])
    return _plain()[:end] + b"\x01" * FILLING_BYTES + _plain()[end:]


def many_chunks() -> bytes:
    """A PNG with a million and a half of empty chunks."""
    data = _encoded("PNG")
    chunk = struct.pack(">I4s", 0, b"prVt") + struct.pack(">I", zlib.crc32(b"prVt"))
    return data[:33] + chunk * (FILLING_BYTES // len(chunk)) + data[33:]


def many_webp_chunks() -> bytes:
    """A WebP with two million empty chunks behind its picture."""
    data = _encoded("WEBP")
    body = data[8:] + b"XXXX\0\0\0\0" * (FILLING_BYTES // 8)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _plain() -> bytes:
    return _encoded("JPEG")


def _encoded(kind: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, kind)
    return file.getvalue()
