"""PNG: the chunks that pixels need, and the colours, transparency and orientation in other chunks. Pure.

Text is not unpacked. An ancillary chunk with a wrong checksum or length counts as absent, and the first sound chunk of
a kind counts, as in libpng. A missing IEND is added.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from services.edge.image.picture import exif, png_colours
from services.edge.image.picture.apng import Animation
from services.edge.image.picture.essence import Essence, Refused

MAGIC = b"\x89PNG\r\n\x1a\n"
CHUNKS_MAX = 64 * 1024
CHUNK_AROUND_BYTES = 12
IHDR_BYTES = 13
_GREY, _RGB, _PALETTE = 0, 2, 3
_SAID = (b"tRNS", b"eXIf", *png_colours.KINDS)
"""The ancillary chunks on which the look of the pixels depends."""
_ANIMATION = (b"acTL", b"fcTL", b"fdAT")


class _Head(NamedTuple):
    """The contents of IHDR, and the number of entries in the palette."""

    width: int = 0
    height: int = 0
    depth: int = 0
    colour: int = 0
    entries: int = 0


def essence(data: bytes) -> Essence:
    """Return the essence of a PNG. Raises `Refused` for an animated file, too many chunks, or Xcode's own form."""
    kept: list[bytes | memoryview] = [MAGIC]
    said: dict[bytes, bytes] = {}
    head, has_pixels, animation = _Head(), False, Animation()
    for kind, body, chunk in _chunks(data):
        if kind == b"CgBI":
            raise Refused("this is a PNG in the form that Xcode makes for iPhones (CgBI); save it as a plain PNG")
        if kind in (b"IHDR", b"PLTE"):
            head = _head_with(kind, body, head)
        elif kind == b"IDAT" or (kind in _ANIMATION and _is_intact(chunk)):
            animation.add(kind, body, (head.width, head.height), has_pixels=has_pixels)
        elif (
            kind in _SAID
            and kind not in said
            and not (has_pixels and kind != b"eXIf")
            and _is_intact(chunk)
            and (useful := _useful(kind, bytes(body), head)) is not None
        ):
            said[kind] = useful
            kept += [_chunk(kind, useful)] if kind == b"tRNS" else []
        if kind[0] & 0x20 == 0 and kind != b"IEND":  # a critical chunk is kept unchanged, with its checksum
            kept.append(chunk)
            has_pixels = has_pixels or kind == b"IDAT"
    if animation.is_real:
        raise Refused("this is an animated PNG")
    kept.append(_chunk(b"IEND", b""))
    turned = exif.orientation(said.get(b"eXIf", b""))
    return Essence(data=b"".join(kept), format="PNG", orientation=turned, profile=png_colours.profile(said))


def _head_with(kind: bytes, body: memoryview, head: _Head) -> _Head:
    """Return the head with the contents of an IHDR or PLTE chunk; as it is for an IHDR of a wrong length."""
    if kind == b"PLTE":
        return head._replace(entries=min(len(body) // 3, 2**head.depth))
    return _Head(*struct.unpack_from(">IIBB", body)) if len(body) == IHDR_BYTES else head


def _useful(kind: bytes, body: bytes, head: _Head) -> bytes | None:
    """Return the body of an ancillary chunk as the decoder is to get it; None if the chunk is malformed."""
    if kind == b"tRNS":
        return _transparency(body, head)
    return body if kind == b"eXIf" or png_colours.is_sound(kind, body) else None


def _transparency(body: bytes, head: _Head) -> bytes | None:
    """Return a tRNS chunk's body for the samples that the decoder returns; None if the chunk is malformed.

    The decoder scales grey of fewer than 8 bits up to 8 bits, and 16-bit RGB down to 8 bits.
    """
    if head.colour == _PALETTE:
        return body if 0 < len(body) <= head.entries else None
    if head.colour not in (_GREY, _RGB) or len(body) != (2 if head.colour == _GREY else 6):
        return None
    most = 2**head.depth - 1
    samples = [sample & most for sample in struct.unpack(f">{len(body) // 2}H", body)]
    if head.colour == _GREY and 1 < head.depth < 8:
        samples = [sample * 255 // most for sample in samples]
    elif head.colour == _RGB and head.depth == 16:
        samples = [sample >> 8 for sample in samples]
    return struct.pack(f">{len(samples)}H", *samples)


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview, bytes | memoryview]]:
    """Yield each chunk up to IEND: its type, its body, and all its bytes. A last chunk that is cut off is completed.

    Raises `Refused` for more than `CHUNKS_MAX` chunks.
    """
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


def _is_intact(chunk: bytes | memoryview) -> bool:
    """Return whether the checksum of a chunk is right."""
    return zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:])


def _chunk(kind: bytes, body: bytes) -> bytes:
    """Return a chunk with its length and its checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
