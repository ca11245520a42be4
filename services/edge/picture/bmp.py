"""BMP: the file as it is, with the colour profile of its fifth header. Pure."""

import struct

from services.edge.picture.essence import PROFILE_BYTES_MAX, Essence

FILE_HEADER_BYTES = 14
V5_HEADER_BYTES = 124
_EMBEDDED = 0x4D424544
"""`MBED`: the profile stands in the file."""


def essence(data: bytes) -> Essence:
    """Return the essence of a BMP."""
    return Essence(data=data, format="BMP", profile=_profile(data))


def _profile(data: bytes) -> bytes | None:
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
