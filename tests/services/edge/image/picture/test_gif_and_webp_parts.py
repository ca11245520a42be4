"""Parts of a GIF or a WebP that are malformed or doubled: they are left out, and never taken for the picture's size."""

import struct

import pytest

from services.edge.image.picture import icc
from services.edge.image.picture.essence import PROFILE_BYTES_MAX
from tests.services.edge.image.picture import made

P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
SIZED = bytes(4) + (96 - 1).to_bytes(3, "little") + (64 - 1).to_bytes(3, "little")
"""The body of a VP8X chunk for the drawing."""


def chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def webp(*before: bytes, values: made.Pixels | None = None) -> bytes:
    """The drawing as WebP, with chunks before its pixels."""
    pixels = made.saved(made.image(values), "WEBP", lossless=True)[12:]
    body = b"".join(before) + pixels
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


@pytest.mark.parametrize("length", [0, 1, 4, 9])
def test_a_webp_head_that_is_too_short_says_nothing_of_the_size(length: int) -> None:
    assert made.error(webp(chunk(b"VP8X", SIZED[:length]))).max() == 0


@pytest.mark.parametrize("second", [made.PROPHOTO, b"x", b""])
def test_the_first_profile_of_a_webp_counts(second: bytes) -> None:
    parts = (chunk(b"VP8X", SIZED), chunk(b"ICCP", made.DISPLAY_P3), chunk(b"ICCP", second))
    assert made.error(webp(*parts, values=made.in_space(P3, icc.D65, None))).max() <= 1


def test_a_webp_profile_that_is_too_large_counts_as_none() -> None:
    assert made.error(webp(chunk(b"VP8X", SIZED), chunk(b"ICCP", bytes(PROFILE_BYTES_MAX + 2)))).max() == 0


@pytest.mark.parametrize("length", [0, 1, 3, 5, 40])
def test_a_control_of_a_gif_of_a_wrong_length_is_left_out(length: int) -> None:
    plain = made.saved(made.image().quantize(64), "GIF")
    at = 13 + 3 * 2 ** ((plain[10] & 7) + 1)
    control = b"\x21\xf9" + (bytes((length,)) + b"\xff" * length if length else b"") + b"\0"
    assert made.decoded(plain[:at] + control + plain[at:]).tobytes() == made.decoded(plain).tobytes()


def test_transparency_of_a_gif_is_said_by_its_sound_control() -> None:
    picture = made.image().quantize(64)
    first = picture.getpixel((5, 5))
    data = made.saved(picture, "GIF", transparency=first)
    assert made.decoded(data).getpixel((5, 5)) == (255, 255, 255)
    at = data.index(b"\x21\xf9\x04")
    assert made.decoded(data[: at + 8] + b"\x21\xf9\x02ab\0" + data[at + 8 :]).getpixel((5, 5)) == (255, 255, 255)
