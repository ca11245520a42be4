"""BMP: the file as it is, with the colour profile of a version 5 header. Pure."""

import struct

from services.edge.image.picture.essence import PROFILE_BYTES_MAX, Essence, Refused

FILE_HEADER_BYTES = 14
V5_HEADER_BYTES = 124
RUN_BYTES_MIN = 64 * 1024
RUN_BYTES_A_PIXEL = 4
"""Pillow decodes runs in Python, so a small picture may not have very many runs that paint nothing."""
_RUNS = (1, 2)
_EMBEDDED = 0x4D424544
"""`MBED`: the profile stands in the file."""


def essence(data: bytes) -> Essence:
    """Return the essence of a BMP. Raises `Refused` for a file with more runs than its pixels can need.

    Raises `struct.error` for a file that ends within its header.
    """
    if struct.unpack_from("<I", data, FILE_HEADER_BYTES)[0] >= 40:
        width, height, _, _, compression = struct.unpack_from("<iiHHI", data, FILE_HEADER_BYTES + 4)
        if compression in _RUNS and len(data) > RUN_BYTES_MIN + RUN_BYTES_A_PIXEL * abs(width * height):
            raise Refused("it has more data than its pixels can need")
    return Essence(data=data, format="BMP", profile=_profile(data))


def _profile(data: bytes) -> bytes | None:
    """Return the ICC profile in a BMP; None if there is none, or a too large one."""
    if len(data) < FILE_HEADER_BYTES + V5_HEADER_BYTES:
        return None
    if struct.unpack_from("<I", data, FILE_HEADER_BYTES)[0] < V5_HEADER_BYTES:
        return None
    if struct.unpack_from("<I", data, FILE_HEADER_BYTES + 56)[0] != _EMBEDDED:
        return None
    offset, size = struct.unpack_from("<II", data, FILE_HEADER_BYTES + 112)
    if not 0 < size <= PROFILE_BYTES_MAX:
        return None
    return data[FILE_HEADER_BYTES + offset : FILE_HEADER_BYTES + offset + size]
