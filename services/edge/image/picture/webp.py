"""WebP: the chunks of the picture, without text and trailing bytes. Pure."""

import struct

from services.edge.image.picture import exif
from services.edge.image.picture.essence import PROFILE_BYTES_MAX, UPRIGHT, Essence, Refused

CHUNKS_MAX = 1024
HEAD_BYTES = 12
CHUNK_HEAD_BYTES = 8
VP8X_BYTES = 10
"""A shorter VP8X chunk counts as absent: the pixels have a size of their own."""
_PIXELS = (b"ALPH", b"VP8 ", b"VP8L", b"ANIM", b"ANMF")
_METADATA_FLAGS = 0x2C
"""The flags in VP8X that announce a profile, EXIF and XMP."""


def essence(data: bytes) -> Essence:
    """Return the essence of a WebP. Raises `Refused` for an animated file, or a file of too many chunks."""
    kept: list[bytes] = []
    profile, turned, frames = None, UPRIGHT, 0
    at, whole = HEAD_BYTES, memoryview(data)
    for _ in range(CHUNKS_MAX):
        if at + CHUNK_HEAD_BYTES > len(data):
            break
        kind, length = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        body = whole[at + CHUNK_HEAD_BYTES : at + CHUNK_HEAD_BYTES + length]
        at += CHUNK_HEAD_BYTES + length + length % 2
        frames += kind in (b"VP8 ", b"VP8L", b"ANMF")
        if kind == b"ANMF" and frames > 1:
            raise Refused("this is an animated WebP")
        if kind == b"ICCP" and profile is None and length <= PROFILE_BYTES_MAX:
            profile = bytes(body)
        elif kind == b"EXIF":
            turned = exif.orientation(bytes(body))
        elif kind == b"VP8X" and len(body) >= VP8X_BYTES:
            kept.append(_chunk(kind, length, bytes([body[0] & ~_METADATA_FLAGS]) + bytes(body[1:])))
        elif kind in _PIXELS and frames < 2:
            kept.append(_chunk(kind, length, bytes(body)))
    else:
        raise Refused(f"it has more than {CHUNKS_MAX} chunks")
    chunks = b"".join(kept)
    head = b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP"
    return Essence(data=head + chunks, format="WEBP", orientation=turned, profile=profile)


def _chunk(kind: bytes, length: int, body: bytes) -> bytes:
    """Return a chunk with its head, which gives `length`, padded to an even length."""
    return kind + struct.pack("<I", length) + body + b"\0" * (length % 2)
