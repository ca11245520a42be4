"""Ancillary chunks of a PNG: a faulty one counts as absent, and the first sound one of a kind counts."""

import struct
import zlib

import pytest

from services.edge.image.picture.essence import Refused
from tests.services.edge.image.picture import made

RED = (200, 40, 30)
WHITE = (255, 255, 255)
TURNED = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
UPRIGHT = TURNED.replace(struct.pack(">HH", 6, 0), struct.pack(">HH", 1, 0))
PALETTE = made.chunk(b"PLTE", bytes((*RED, 0, 0, 255, 0, 255, 0)))
GREY, RGB, INDEXED, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
SIZE = (64, 40)


def png(
    *chunks: bytes, colour: int = RGB, depth: int = 8, row: bytes = bytes(RED) * 64, after: tuple[bytes, ...] = ()
) -> bytes:
    """A picture of one colour, with chunks before and after its pixels."""
    head = made.chunk(b"IHDR", struct.pack(">IIBBBBB", *SIZE, depth, colour, 0, 0, 0))
    pixels = made.chunk(b"IDAT", zlib.compress((b"\0" + row) * SIZE[1]))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + pixels + b"".join(after) + made.chunk(b"IEND", b"")


def seen(data: bytes) -> object:
    return made.decoded(data).getpixel((5, 5))


def trns(body: bytes, crc: int | None = None) -> bytes:
    return made.chunk(b"tRNS", body, crc=crc)


HIT = struct.pack(">HHH", *RED)


@pytest.mark.parametrize("body", [b"", b"\0", bytes(2), bytes(5), HIT + b"\0", bytes(40), bytes(300)], ids=len)
def test_transparency_of_a_wrong_length_is_none(body: bytes) -> None:
    assert seen(png(trns(body))) == RED
    assert seen(png(trns(body), colour=GREY_ALPHA, row=b"\x64\xff" * 64)) == (100, 100, 100)
    assert seen(png(trns(body), colour=RGB_ALPHA, row=bytes((*RED, 255)) * 64)) == RED
    if len(body) != 2:
        assert seen(png(trns(body), colour=GREY, row=b"\x64" * 64)) == (100, 100, 100)


@pytest.mark.parametrize("count", [0, 4, 5, 256, 257, 300])
def test_transparency_of_more_entries_than_the_palette_has_is_none(count: int) -> None:
    assert seen(png(PALETTE, trns(bytes(count)), colour=INDEXED, row=bytes(64))) == RED


def test_transparency_is_read_where_and_as_it_may_stand() -> None:
    row = bytes(64)
    assert seen(png(PALETTE, trns(b"\0"), colour=INDEXED, row=row)) == WHITE
    assert seen(png(PALETTE, trns(bytes(3)), colour=INDEXED, row=row)) == WHITE
    assert seen(png(trns(b"\0"), PALETTE, colour=INDEXED, row=row)) == RED  # before its palette
    assert seen(png(PALETTE, colour=INDEXED, row=row, after=(trns(b"\0"),))) == RED
    assert seen(png(PALETTE, trns(b"\0", crc=1), colour=INDEXED, row=row)) == RED
    assert seen(png(trns(HIT))) == WHITE
    assert seen(png(trns(HIT, crc=1))) == RED


def test_the_first_sound_transparency_counts() -> None:
    assert seen(png(trns(b"\0"), trns(HIT))) == WHITE
    assert seen(png(trns(HIT, crc=1), trns(HIT))) == WHITE
    assert seen(png(trns(bytes(6)), trns(HIT))) == RED
    assert seen(png(trns(HIT), trns(bytes(6)))) == WHITE


@pytest.mark.parametrize(
    ("depth", "sample", "row", "grey"),
    [
        (1, 0, b"\x00" * 8, 0),
        (2, 1, b"\x55" * 16, 85),
        (4, 9, b"\x99" * 32, 153),
        (8, 100, b"\x64" * 64, 100),
        (16, 0x6464, b"\x64\x64" * 64, 100),
        (16, 0x0064, b"\x00\x64" * 64, 0),
    ],
)
def test_a_transparent_grey_is_found_at_every_depth(depth: int, sample: int, row: bytes, grey: int) -> None:
    assert seen(png(trns(struct.pack(">H", sample)), colour=GREY, depth=depth, row=row)) == WHITE
    other = struct.pack(">H", sample ^ 1)
    assert seen(png(trns(other), colour=GREY, depth=depth, row=row)) == (grey, grey, grey)


def test_a_transparent_colour_of_16_bits_is_found() -> None:
    colour = struct.pack(">HHH", 0xC812, 0x2834, 0x1E56)
    assert seen(png(depth=16, row=colour * 64)) == RED
    assert seen(png(trns(colour), depth=16, row=colour * 64)) == WHITE
    assert seen(png(trns(struct.pack(">HHH", *RED)), depth=16, row=colour * 64)) == RED


GAMMA = made.chunk(b"gAMA", struct.pack(">I", 100_000))
LIGHT = (229, 110, 96)
"""That red under a gamma of 1, as Chromium shows it."""
DISPLAY_P3 = (218, 0, 4)
PROFILE = b"x\0\0" + zlib.compress(made.DISPLAY_P3)


@pytest.mark.parametrize(
    "chunks",
    [
        (made.chunk(b"gAMA", b""), GAMMA),
        (made.chunk(b"gAMA", b"x"), GAMMA),
        (made.chunk(b"gAMA", bytes(5)), GAMMA),
        (made.chunk(b"gAMA", struct.pack(">I", 45455), crc=1), GAMMA),
        (GAMMA, made.chunk(b"gAMA", struct.pack(">I", 45455))),
        (GAMMA, made.chunk(b"cHRM", b"xx")),
        (GAMMA, made.chunk(b"cHRM", bytes(33))),
        (GAMMA, made.chunk(b"cHRM", bytes(32), crc=1)),
        (made.chunk(b"sRGB", b""), GAMMA),
        (made.chunk(b"sRGB", b"\0\0"), GAMMA),
        (made.chunk(b"sRGB", b"\x09"), GAMMA),
        (made.chunk(b"sRGB", b"\0", crc=1), GAMMA),
        (made.chunk(b"cICP", b""), GAMMA),
        (made.chunk(b"cICP", bytes([12, 13, 0])), GAMMA),
        (made.chunk(b"cICP", bytes([12, 13, 0, 1, 0])), GAMMA),
        (made.chunk(b"cICP", bytes([12, 13, 0, 1]), crc=1), GAMMA),
        (made.chunk(b"cICP", bytes([2, 2, 0, 1])), GAMMA),
        (made.chunk(b"iCCP", b""), GAMMA),
        (made.chunk(b"iCCP", b"x"), GAMMA),
        (made.chunk(b"iCCP", PROFILE, crc=1), GAMMA),
        (made.chunk(b"iCCP", PROFILE[:-20]), GAMMA),
        (made.chunk(b"iCCP", b"x\0\1" + PROFILE[3:]), GAMMA),
        (made.chunk(b"iCCP", b"x" * 80 + PROFILE[1:]), GAMMA),
        (made.chunk(b"iCCP", b"x\0\0" + zlib.compress(b"noise" * 50)), GAMMA),
    ],
)
def test_a_faulty_chunk_of_colours_leaves_them_to_the_next(chunks: tuple[bytes, ...]) -> None:
    got = seen(png(*chunks))
    assert isinstance(got, tuple)
    assert max(abs(one - other) for one, other in zip(got, LIGHT, strict=True)) <= 3


def test_a_sound_profile_counts_whatever_stands_behind_it() -> None:
    for body in (PROFILE, PROFILE + b"tail"):
        got = seen(png(made.chunk(b"iCCP", body), GAMMA))
        assert isinstance(got, tuple)
        assert max(abs(one - other) for one, other in zip(got, DISPLAY_P3, strict=True)) <= 3


@pytest.mark.parametrize("kind", [b"bKGD", b"pHYs", b"sBIT", b"hIST", b"sPLT", b"tIME", b"eXIf", b"acTL", b"fcTL"])
@pytest.mark.parametrize("length", [0, 1, 3, 400])
def test_what_says_nothing_of_pixels_may_have_any_length_and_stand_twice(kind: bytes, length: int) -> None:
    body = b"\xa5" * length
    assert seen(png(made.chunk(kind, body), made.chunk(kind, body), after=(made.chunk(kind, body),))) == RED
    assert seen(png(made.chunk(kind, body, crc=1))) == RED


def test_the_first_sound_orientation_counts() -> None:
    upright, turned = made.chunk(b"eXIf", UPRIGHT), made.chunk(b"eXIf", TURNED)
    assert made.decoded(png(turned)).size == SIZE[::-1]
    assert made.decoded(png(turned, upright)).size == SIZE[::-1]
    assert made.decoded(png(upright, turned)).size == SIZE
    broken = made.chunk(b"eXIf", TURNED, crc=1)
    assert made.decoded(png(broken)).size == SIZE
    assert made.decoded(png(broken, turned)).size == SIZE[::-1]


BLUE = zlib.compress((b"\0" + bytes((10, 20, 250)) * SIZE[0]) * SIZE[1])


def actl(frames: int, crc: int | None = None) -> bytes:
    return made.chunk(b"acTL", struct.pack(">II", frames, 0), crc=crc)


def fctl(number: int, width: int = SIZE[0], crc: int | None = None) -> bytes:
    return made.chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, width, SIZE[1], 0, 0, 1, 10, 0, 0), crc=crc)


def fdat(number: int, crc: int | None = None) -> bytes:
    return made.chunk(b"fdAT", struct.pack(">I", number) + BLUE, crc=crc)


SECOND = (fctl(1), fdat(2))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((actl(5),), ()),
        ((actl(2), fctl(0)), ()),
        ((actl(2), fctl(0)), (fctl(1),)),
        ((actl(2), made.chunk(b"fcTL", b"x")), ()),
        ((made.chunk(b"acTL", b"\x93\x12\xab\xfe\1\2\3\4"),), ()),
        ((made.chunk(b"acTL", b"\x93\x12\xab\xfe\1\2\3\4"), fctl(0)), SECOND),
        ((made.chunk(b"acTL", b"\0\0\0\2"), fctl(0)), SECOND),
        ((made.chunk(b"acTL", struct.pack(">II", 2, 0)[:7]), fctl(0)), SECOND),
        ((made.chunk(b"acTL", struct.pack(">IIB", 2, 0, 0)), fctl(0)), SECOND),
        ((actl(2, crc=1), fctl(0)), SECOND),
        ((actl(0), fctl(0)), SECOND),
        ((actl(1), fctl(0)), SECOND),
        ((actl(1), actl(2), fctl(0)), SECOND),
        ((fctl(0),), (actl(2), *SECOND)),
        ((fctl(0),), SECOND),
        ((actl(2),), (fctl(0), fdat(1))),
        ((actl(2), fctl(0)), (fctl(1, crc=1), fdat(2))),
        ((actl(2), fctl(0)), (fctl(1, width=600), fdat(2))),
        ((actl(2), fctl(0)), (fctl(1), fdat(2, crc=1))),
    ],
)
def test_a_png_that_is_not_really_animated_is_its_picture(before: tuple[bytes, ...], after: tuple[bytes, ...]) -> None:
    assert seen(png(*before, after=after)) == RED


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((actl(2), fctl(0)), SECOND),
        ((actl(7), fctl(0)), SECOND),
        ((made.chunk(b"acTL", b""), actl(2), fctl(0)), SECOND),
        ((actl(2),), (fctl(0), fdat(1), fctl(2), fdat(3))),
    ],
)
def test_a_png_of_two_frames_is_refused_by_name(before: tuple[bytes, ...], after: tuple[bytes, ...]) -> None:
    with pytest.raises(Refused, match="this is an animated PNG"):
        made.decoded(png(*before, after=after))
