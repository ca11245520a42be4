"""Samples of a TIFF: greys of every depth are shown, and what is not read is named instead of painted black."""

import struct
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from services.edge.image.picture.essence import Refused
from tests.services.edge.image.picture import made

SIZE = (96, 64)
UNSIGNED, SIGNED, FLOAT, UNDEFINED, COMPLEX = 1, 2, 3, 4, 5
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2


def tiff(
    pixels: bytes, bits: int, photometric: int = BLACK_IS_ZERO, form: int | None = None, samples: int = 1, **tags: int
) -> bytes:
    """A TIFF of one strip, little-endian."""
    entries = [(256, 4, 1, SIZE[0]), (257, 4, 1, SIZE[1]), (259, 3, 1, tags.get("compression", 1))]
    entries += [(262, 3, 1, photometric), (273, 4, 1, 8), (277, 3, 1, samples), (278, 4, 1, SIZE[1])]
    entries += [(279, 4, 1, len(pixels))]
    at = 8 + len(pixels)
    lists = b""
    for tag, value in ((258, bits), (339, form)):
        if value is not None:
            inline = samples <= 2
            entries.append((tag, 3, samples, value * (0x10001 if samples == 2 else 1) if inline else at + len(lists)))
            lists += b"" if inline else struct.pack(f"<{samples}H", *[value] * samples)
    directory = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    start = struct.pack("<I", at + len(lists))
    return b"II*\0" + start + pixels + lists + struct.pack("<H", len(entries)) + directory + bytes(4)


def ramp() -> npt.NDArray[np.float64]:
    return made.drawing(SIZE)[..., 1]


def error(data: bytes) -> float:
    return float(made.error(data, np.repeat(ramp()[..., None], 3, -1)).max())


def packed_12(values: npt.NDArray[Any]) -> bytes:
    one, other = values.astype(int).reshape(-1, 2).T
    return np.stack([one >> 4, (one & 15) << 4 | other >> 8, other & 255], -1).astype(np.uint8).tobytes()


def test_greys_of_every_depth_are_scaled() -> None:
    grey = ramp()
    assert error(tiff((grey * 255).round().astype("u1").tobytes(), 8)) <= 1
    assert error(tiff((grey * 65535).round().astype("<u2").tobytes(), 16)) <= 1
    assert error(tiff(packed_12((grey * 4095).round()), 12)) <= 1
    assert error(tiff((grey * 255).round().astype("u1").tobytes(), 8, form=UNDEFINED)) <= 1


def test_greys_whose_zero_is_white_are_inverted_at_every_depth() -> None:
    grey = 1 - ramp()
    assert error(tiff((grey * 255).round().astype("u1").tobytes(), 8, WHITE_IS_ZERO)) <= 1
    assert error(tiff((grey * 65535).round().astype("<u2").tobytes(), 16, WHITE_IS_ZERO)) <= 1
    assert error(tiff(packed_12((grey * 4095).round()), 12, WHITE_IS_ZERO)) <= 1


def test_16_bit_colours_are_scaled() -> None:
    pixels = (made.drawing(SIZE) * 65535).round().astype("<u2").tobytes()
    assert made.error(tiff(pixels, 16, RGB, samples=3)).max() <= 1


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize(
    ("kind", "form", "name"),
    [
        ("<f2", FLOAT, "a TIFF of floating-point samples"),
        ("<f4", FLOAT, "a TIFF of floating-point samples"),
        ("<f8", FLOAT, "a TIFF of floating-point samples"),
        ("<c8", COMPLEX, "a TIFF of complex samples"),
        ("i1", SIGNED, "a TIFF of 8-bit signed integer samples"),
        ("<i2", SIGNED, "a TIFF of 16-bit signed integer samples"),
        ("<i4", SIGNED, "a TIFF of 32-bit signed integer samples"),
        ("<u4", UNSIGNED, "a TIFF of 32-bit integer samples"),
        ("<u4", None, "a TIFF of 32-bit integer samples"),
        ("<u8", UNSIGNED, "a TIFF of 64-bit integer samples"),
    ],
)
def test_samples_that_are_not_read_are_named(kind: str, form: int | None, name: str, samples: int) -> None:
    pixels = np.repeat(ramp()[..., None], samples, -1)
    bits = np.dtype(kind).itemsize * 8
    most = 1 if form in (FLOAT, COMPLEX) else 2 ** (bits - 2)
    data = tiff((pixels * most).astype(kind).tobytes(), bits, RGB if samples == 3 else BLACK_IS_ZERO, form, samples)
    with pytest.raises(Refused, match=name):
        made.decoded(data)


@pytest.mark.parametrize("mode", ["F", "I"])
def test_what_pillow_writes_of_floats_and_integers_is_named(mode: str) -> None:
    picture = made.image().convert("L").convert(mode)
    for options in ({}, {"compression": "tiff_lzw"}, {"big_tiff": True}):
        with pytest.raises(Refused, match="floating-point" if mode == "F" else "32-bit signed"):
            made.decoded(made.saved(picture, "TIFF", **options))
    pages = made.saved(picture, "TIFF", save_all=True, append_images=[picture])
    with pytest.raises(Refused, match="a TIFF of several pages"):
        made.decoded(pages)


def test_colours_and_compressions_that_are_not_read_are_named() -> None:
    pixels = bytes(SIZE[0] * SIZE[1] * 2)
    for photometric, name in ((32803, "a camera's raw file"), (32844, "a colour space that is not read")):
        with pytest.raises(Refused, match=name):
            made.decoded(tiff(pixels, 16, photometric))
    with pytest.raises(Refused, match="a compression that is not read"):
        made.decoded(tiff(pixels, 16, compression=34712))
    with pytest.raises(Refused, match="2 samples of 16 bits a pixel"):
        made.decoded(tiff(pixels * 2, 16, samples=2))


def test_planes_of_16_bits_are_named_and_not_read_as_planes_of_8() -> None:
    pixels = (made.drawing(SIZE) * 65535).round().astype("<u2")
    planes = np.moveaxis(pixels, -1, 0).tobytes()
    third = len(planes) // 3
    chunky = tiff(planes, 16, RGB, samples=3)
    start = struct.unpack_from("<I", chunky, 4)[0]
    count = struct.unpack_from("<H", chunky, start)[0]
    entries = [chunky[at : at + 12] for at in range(start + 2, start + 2 + 12 * count, 12)]
    lists = struct.pack("<6I", 8, 8 + third, 8 + 2 * third, third, third, third)
    entries = [entry for entry in entries if struct.unpack_from("<H", entry)[0] not in (273, 279)]
    entries += [struct.pack("<HHII", 273, 4, 3, start), struct.pack("<HHII", 279, 4, 3, start + 12)]
    entries += [struct.pack("<HHII", 284, 3, 1, 2)]
    directory = (
        struct.pack("<H", len(entries))
        + b"".join(sorted(entries, key=lambda entry: struct.unpack_from("<H", entry)))
        + bytes(4)
    )
    data = chunky[:4] + struct.pack("<I", start + len(lists)) + chunky[8:start] + lists + directory
    with pytest.raises(Refused, match="16-bit colours, plane by plane and uncompressed"):
        made.decoded(data)


def test_12_bits_of_the_other_byte_order_are_named() -> None:
    entries = [(256, 4, 1, 64), (257, 4, 1, 64)]
    shorts = [(258, 12), (259, 1), (262, 1), (277, 1)]
    longs = [(273, 8), (278, 64), (279, 64 * 96)]
    directory = b"".join(struct.pack(">HHII", *entry) for entry in entries)
    directory += b"".join(struct.pack(">HHIHH", tag, 3, 1, value, 0) for tag, value in shorts if tag < 273)
    directory += struct.pack(">HHII", 273, 4, 1, longs[0][1]) + struct.pack(">HHIHH", 277, 3, 1, 1, 0)
    directory += b"".join(struct.pack(">HHII", tag, 4, 1, value) for tag, value in longs[1:])
    data = b"MM\0*" + struct.pack(">I", 8 + 64 * 96) + bytes(64 * 96) + struct.pack(">H", 9) + directory + bytes(4)
    with pytest.raises(Refused, match="a big-endian TIFF of 12-bit samples"):
        made.decoded(data)
