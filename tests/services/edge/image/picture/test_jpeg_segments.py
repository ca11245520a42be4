"""Application segments of a JPEG: short and malformed ones are skipped, a profile counts wherever it may stand."""

import struct

import pytest
from PIL import Image

from services.edge.image.picture import icc
from services.edge.image.picture.essence import Refused
from tests.services.edge.image.picture import made

LEVELS_MAX = 3.0
P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
SOF, DHT, SOS = b"\xff\xc0", b"\xff\xc4", b"\xff\xda"
FULL_JFIF, FULL_ADOBE = b"JFIF\0\1\1\0\0\1\0\1\0\0", b"Adobe\0\x64\0\0\0\0\1"
NAME = b"ICC_PROFILE\0"


def segment(kind: int, body: bytes, length: int | None = None) -> bytes:
    return bytes((0xFF, kind)) + struct.pack(">H", len(body) + 2 if length is None else length) + body


def bare(values: made.Pixels | None = None, *, progressive: bool = False) -> bytes:
    """The drawing as JPEG, without any application segment."""
    data = made.saved(made.image(values), "JPEG", quality=97, subsampling=0, progressive=progressive)
    assert data[2:4] == b"\xff\xe0"
    return data[:2] + data[20:]


def with_segments(*segments: bytes, before: bytes | None = None, data: bytes | None = None) -> bytes:
    """A JPEG with segments at its beginning, or before the first marker of a kind."""
    data = bare() if data is None else data
    at = 2 if before is None else data.index(before)
    return data[:at] + b"".join(segments) + data[at:]


SHORT = [
    *(segment(0xE0, FULL_JFIF[:length]) for length in range(14)),
    *(segment(0xEE, FULL_ADOBE[:length]) for length in range(12)),
    *(segment(kind, b"") for kind in range(0xE0, 0xF0)),
    *(segment(kind, b"", length) for kind in (0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xFE) for length in (0, 1)),
    *(segment(0xE1, body) for body in (b"Ex", b"Exif", b"Exif\0\0", b"Exif\0\0MM", b"http://ns.adobe.com/xap/1.0/\0")),
    *(segment(0xE2, NAME[:length]) for length in (3, 11, 12)),
    *(segment(0xE2, NAME + body) for body in (b"\1", b"\1\1", b"\0\0", b"\1\0x", b"\2\1x", b"\xff\xff\xff")),
    *(segment(0xE2, body) for body in (b"MPF\0", b"MPF\0MM\0*")),
    *(segment(0xED, body) for body in (b"Photoshop 3.0\0", b"Photoshop 3.0\x008BIM\4\4\0\0\xff\xff\xff\xff")),
]


@pytest.mark.parametrize("place", [None, SOF, SOS], ids=["first", "before the frame", "behind the frame"])
def test_a_segment_that_is_too_short_is_skipped(place: bytes | None) -> None:
    for short in SHORT:
        assert made.error(with_segments(short, before=place)).max() <= LEVELS_MAX, short


def test_adobe_and_jfif_segments_that_are_whole_say_what_the_components_are() -> None:
    rgb = with_segments(segment(0xEE, FULL_ADOBE[:-1] + b"\0"))
    assert made.error(rgb).max() > 20
    assert made.error(with_segments(segment(0xE0, b"JFIF\0"), data=rgb)).max() > 20
    assert made.error(with_segments(segment(0xE0, FULL_JFIF), data=rgb)).max() <= LEVELS_MAX


def part(number: int, count: int, body: bytes) -> bytes:
    return segment(0xE2, NAME + bytes((number, count)) + body)


WHOLE = part(1, 1, made.DISPLAY_P3)
FIRST, SECOND = part(1, 2, made.DISPLAY_P3[:200]), part(2, 2, made.DISPLAY_P3[200:])


@pytest.mark.parametrize("place", [None, SOF, DHT, SOS], ids=["first", "SOF", "DHT", "SOS"])
@pytest.mark.parametrize(
    "parts",
    [
        (WHOLE,),
        (FIRST, SECOND),
        (SECOND, FIRST),
        (segment(0xE2, NAME), WHOLE),
        (segment(0xE2, NAME + b"\1"), FIRST, SECOND),
        (WHOLE, part(2, 1, b"x")),
        (WHOLE, WHOLE),
    ],
)
def test_a_profile_counts_wherever_it_stands_before_the_first_scan(
    place: bytes | None, parts: tuple[bytes, ...]
) -> None:
    values = made.in_space(P3, icc.D65, None)
    assert made.error(with_segments(*parts, before=place, data=bare(values))).max() <= LEVELS_MAX


def test_a_profile_may_stand_on_both_sides_of_the_frame() -> None:
    data = with_segments(SECOND, before=SOS, data=bare(made.in_space(P3, icc.D65, None)))
    assert made.error(with_segments(FIRST, data=data)).max() <= LEVELS_MAX


@pytest.mark.parametrize(
    "parts",
    [
        (FIRST,),
        (FIRST, FIRST, SECOND),
        (FIRST, part(2, 3, made.DISPLAY_P3[200:])),
        (part(0, 1, made.DISPLAY_P3),),
        (part(1, 0, made.DISPLAY_P3),),
        (part(0, 2, made.DISPLAY_P3[:200]), part(1, 2, made.DISPLAY_P3[200:])),
        (part(1, 2, b""), part(2, 2, made.DISPLAY_P3)),
    ],
)
def test_a_profile_of_wrong_numbers_counts_as_none(parts: tuple[bytes, ...]) -> None:
    assert made.error(with_segments(*parts)).max() <= LEVELS_MAX


def test_a_profile_behind_a_scan_counts_as_none() -> None:
    data = bare(progressive=True)
    last = data.rindex(SOS)
    assert made.error(data[:last] + WHOLE + data[last:]).max() <= LEVELS_MAX


def test_grey_and_cmyk_profiles_count_behind_the_frame_too() -> None:
    grey = made.drawing()[..., 1]
    plain = made.saved(Image.fromarray(made.levels(grey)), "JPEG", quality=97)
    truth = made.encoded(grey**made.GREY_GAMMA)[..., None].repeat(3, -1)
    assert made.error(with_segments(part(1, 1, made.grey_profile()), before=SOS, data=plain), truth).max() <= LEVELS_MAX


@pytest.mark.parametrize("bits", [12, 16])
def test_a_jpeg_of_more_than_8_bits_is_named(bits: int) -> None:
    data = bytearray(bare())
    data[data.index(SOF) + 4] = bits
    with pytest.raises(Refused, match=f"this is a JPEG of {bits}-bit samples"):
        made.decoded(bytes(data))
