"""Read the orientation in an EXIF block, and no other tag, so that damage elsewhere cannot matter. Pure."""

import struct

from services.edge.image.picture.essence import UPRIGHT

ORIENTATION_TAG = 0x0112
LONG = 4
ENTRIES_MAX = 1024
_ENTRY_BYTES = 12
_ORDERS = {b"II": "<", b"MM": ">"}
_PREFIX = b"Exif\0\0"


def orientation(block: bytes) -> int:
    """Return the orientation in an EXIF block, with or without its prefix: 1 to 8, and 1 if there is no readable one.

    The first directory is searched as far as the block goes.
    """
    tiff = block[len(_PREFIX) :] if block.startswith(_PREFIX[:4]) else block
    order = _ORDERS.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return UPRIGHT
    start = struct.unpack_from(f"{order}I", tiff, 4)[0]
    if start + 2 > len(tiff):
        return UPRIGHT
    count = struct.unpack_from(f"{order}H", tiff, start)[0]
    for number in range(min(count, ENTRIES_MAX)):
        at = start + 2 + number * _ENTRY_BYTES
        if at + 10 > len(tiff):  # an entry is cut off before its value
            break
        tag, kind = struct.unpack_from(f"{order}HH", tiff, at)
        if tag == ORIENTATION_TAG:
            value = struct.unpack_from(order + ("I" if kind == LONG else "H"), tiff[at + 8 :].ljust(4, b"\0"))[0]
            return value if UPRIGHT <= value <= 8 else UPRIGHT
    return UPRIGHT
