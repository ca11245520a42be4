"""The colours of a PNG: the ICC profile of its cICP, iCCP, sRGB, gAMA and cHRM chunks. Pure.

A malformed chunk counts as absent, as in libpng.
"""

import struct
import zlib

from services.edge.image.picture import icc
from services.edge.image.picture.essence import PROFILE_BYTES_MAX

KINDS = (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM")
NAME_BYTES_MAX = 79
INTENTS = 4
_LENGTHS = {b"cICP": 4, b"sRGB": 1, b"gAMA": 4, b"cHRM": 32}
_UNKNOWN = 2
"""The code point of H.273 that leaves primaries or a transfer function open."""
_SIGNATURE, _SIGNATURE_AT = b"acsp", 36


def is_sound(kind: bytes, body: bytes | memoryview) -> bool:
    """Return whether a chunk of one of `KINDS` has the right length and known values."""
    if kind in _LENGTHS and len(body) != _LENGTHS[kind]:
        return False
    if kind == b"cICP":
        primaries, transfer, matrix, is_full = body
        return matrix == 0 and is_full == 1 and _UNKNOWN not in (primaries, transfer)
    return kind != b"sRGB" or body[0] < INTENTS


def profile(colours: dict[bytes, bytes]) -> bytes | None:
    """Return the ICC profile of the first of these chunks: cICP, iCCP, sRGB, gAMA with cHRM; None for sRGB or none.

    `colours` are the bodies of sound chunks by their types.
    """
    if b"cICP" in colours:
        return icc.of_code_points(*colours[b"cICP"][:2])
    if b"iCCP" in colours and (embedded := _unpacked(colours[b"iCCP"])) is not None:
        return embedded
    if b"sRGB" in colours or b"gAMA" not in colours:
        return None
    (gamma,) = struct.unpack(">I", colours[b"gAMA"])
    chromaticities = [value / 1e5 for value in struct.unpack(">8I", colours.get(b"cHRM", icc.SRGB_CHRM))]
    try:
        return icc.of_gamma(gamma / 1e5, chromaticities)
    except (struct.error, ValueError):
        return None


def _unpacked(body: bytes) -> bytes | None:
    """Return the profile in an iCCP chunk; None if it cannot be unpacked, is too large, or is not a profile."""
    name, _, rest = body.partition(b"\0")
    unpacking = zlib.decompressobj()
    if not 0 < len(name) <= NAME_BYTES_MAX or rest[:1] != b"\0":
        return None
    try:
        unpacked = unpacking.decompress(rest[1:], PROFILE_BYTES_MAX + 1)
    except zlib.error:
        return None
    is_profile = unpacked[_SIGNATURE_AT : _SIGNATURE_AT + 4] == _SIGNATURE
    return unpacked if unpacking.eof and is_profile and len(unpacked) <= PROFILE_BYTES_MAX else None
