"""PNG: the chunks that pixels need, and what the others say of colours and orientation. Pure.

Text is not unpacked, and the checksums of chunks that no pixel needs are not looked at. A missing IEND is added.
"""

import struct
import zlib
from collections.abc import Iterator

from services.edge.picture import exif, icc
from services.edge.picture.essence import PROFILE_BYTES_MAX, UPRIGHT, Essence, Refused

MAGIC = b"\x89PNG\r\n\x1a\n"
CHUNKS_MAX = 64 * 1024
CHUNK_AROUND_BYTES = 12
_COLOURS = (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM")


def essence(data: bytes) -> Essence:
    """Return the essence of a PNG. Raises `Refused` for an animated one, or one of too many chunks."""
    kept: list[bytes | memoryview] = [MAGIC]
    colours: dict[bytes, bytes] = {}
    turned, has_pixels = UPRIGHT, False
    for kind, body, chunk in _chunks(data):
        if kind == b"CgBI":
            raise Refused("this is a PNG in the form that Xcode makes for iPhones (CgBI); save it as a plain PNG")
        if kind == b"acTL" and int.from_bytes(body[:4]) > 1:
            raise Refused("this is an animated PNG")
        if kind == b"eXIf":
            turned = exif.orientation(bytes(body))
        elif kind in _COLOURS and not has_pixels:
            colours.setdefault(kind, bytes(body))
        elif kind == b"tRNS" and not has_pixels:
            kept.append(_chunk(kind, bytes(body)))
        elif kind[0] & 0x20 == 0 and kind != b"IEND":  # critical: kept as it is, its checksum too
            kept.append(chunk)
            has_pixels = has_pixels or kind == b"IDAT"
    kept.append(_chunk(b"IEND", b""))
    return Essence(data=b"".join(kept), format="PNG", orientation=turned, profile=_profile(colours))


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview, bytes | memoryview]]:
    """Each chunk up to IEND: its type, its body, and the whole of it; the last one perhaps cut off, and then mended."""
    whole, at = memoryview(data), len(MAGIC)
    for _ in range(CHUNKS_MAX):
        if at + 8 > len(data):
            return
        (length,), kind = struct.unpack_from(">I", data, at), data[at + 4 : at + 8]
        end = at + CHUNK_AROUND_BYTES + length
        body = whole[at + 8 : min(end - 4, len(data))]
        yield kind, body, whole[at:end] if end <= len(data) else _chunk(kind, bytes(body))
        if kind == b"IEND":
            return
        at = end
    raise Refused(f"it has more than {CHUNKS_MAX} chunks")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _profile(colours: dict[bytes, bytes]) -> bytes | None:
    """Return the ICC profile that the first of these chunks means: cICP, iCCP, sRGB, gAMA with cHRM."""
    try:
        if b"cICP" in colours:
            return icc.of_code_points(*struct.unpack(">BB", colours[b"cICP"][:2]))
        if b"iCCP" in colours and (profile := _unpacked(colours[b"iCCP"])) is not None:
            return profile
        if b"sRGB" in colours or b"gAMA" not in colours:
            return None
        (gamma,) = struct.unpack(">I", colours[b"gAMA"])
        chromaticities = [value / 1e5 for value in struct.unpack(">8I", colours.get(b"cHRM", icc.SRGB_CHRM))]
        return icc.of_gamma(gamma / 1e5, chromaticities)
    except (struct.error, ValueError):
        return None


def _unpacked(body: bytes) -> bytes | None:
    name, _, rest = body.partition(b"\0")
    unpacking = zlib.decompressobj()
    try:
        profile = unpacking.decompress(rest[1:], PROFILE_BYTES_MAX + 1)
    except zlib.error:
        return None
    return profile if name and len(profile) <= PROFILE_BYTES_MAX else None
