"""Colours against a truth that is computed here. The limit is a mean error of 3 grey levels for each channel."""

import struct
import zlib
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from services.edge.image.picture import icc
from services.edge.image.picture.essence import PROFILE_BYTES_MAX
from tests.services.edge.image.picture import made

LEVELS_MAX = 3.0


class Space(NamedTuple):
    """An RGB space: its profile, and the numbers that it is made of."""

    profile: bytes
    primaries: tuple[icc.Pair, icc.Pair, icc.Pair]
    white: icc.Pair
    gamma: float | None

    @property
    def values(self) -> made.Pixels:
        """The drawing in this space."""
        return made.in_space(self.primaries, self.white, self.gamma)


P3 = Space(made.DISPLAY_P3, ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)), icc.D65, None)
ADOBE = Space(made.ADOBE_RGB, ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)), icc.D65, 2.19921875)
PROPHOTO = Space(made.PROPHOTO, ((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001)), (0.3457, 0.3585), 1.8)
SPACES = {"Display P3": P3, "Adobe RGB": ADOBE, "ProPhoto": PROPHOTO}
FORMATS: list[tuple[str, dict[str, Any]]] = [
    ("PNG", {}),
    ("JPEG", {"quality": 97, "subsampling": 0}),
    ("WEBP", {"lossless": True}),
    ("AVIF", {"quality": 100, "subsampling": "4:4:4"}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
]
CASES = [(space, *form) for space in SPACES for form in FORMATS if (space, form[0]) != ("ProPhoto", "AVIF")]
"""In 8 bits of YCbCr, as Pillow writes an AVIF, ProPhoto loses 4 levels before it is read."""


@pytest.mark.parametrize(("space", "kind", "options"), CASES, ids=str)
def test_colours_are_what_the_embedded_profile_says(space: str, kind: str, options: dict[str, Any]) -> None:
    profile, values = SPACES[space].profile, SPACES[space].values
    assert made.error(made.saved(made.image(values), kind, **options)).max() > LEVELS_MAX  # without its profile
    assert made.error(made.saved(made.image(values), kind, icc_profile=profile, **options)).max() <= LEVELS_MAX


@pytest.mark.parametrize("space", SPACES)
def test_16_bit_colours_are_converted_too(space: str) -> None:
    values = made.levels(SPACES[space].values, 65535).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, 2, 0, 0, 0)
    packed = b"x\0\0" + zlib.compress(SPACES[space].profile)
    chunks = (made.chunk(b"IHDR", head), made.chunk(b"iCCP", packed), made.chunk(b"IDAT", zlib.compress(rows)))
    assert made.error(b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + made.chunk(b"IEND", b"")).max() <= LEVELS_MAX


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_is_converted_by_its_profile(kind: str) -> None:
    inks = np.concatenate([1 - made.drawing(), np.full((64, 96, 1), 0.1)], -1)
    cmyk = Image.frombytes("CMYK", (96, 64), made.levels(inks).tobytes())
    options: dict[str, Any] = {"quality": 97, "subsampling": 0} if kind == "JPEG" else {}
    data = made.saved(cmyk, kind, icc_profile=made.cmyk_profile(), **options)
    assert made.error(data, made.ink_to_srgb(inks)).max() <= LEVELS_MAX


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_grey_is_converted_by_its_profile(kind: str) -> None:
    grey = made.drawing()[..., 1]
    truth = np.repeat(made.encoded(grey**made.GREY_GAMMA)[..., None], 3, -1)
    data = made.saved(Image.fromarray(made.levels(grey)), kind, icc_profile=made.grey_profile())
    assert made.error(data, truth).max() <= LEVELS_MAX


def test_16_bit_grey_is_converted_by_its_profile() -> None:
    grey = made.drawing()[..., 1]
    truth = np.repeat(made.encoded(grey**made.GREY_GAMMA)[..., None], 3, -1)
    data = made.saved(Image.fromarray(made.levels(grey, 65535)), "PNG", icc_profile=made.grey_profile())
    assert made.error(data, truth).max() <= LEVELS_MAX


def test_a_palette_and_transparent_pixels_are_converted_before_they_lie_on_white() -> None:
    values = P3.values
    palette = made.image(values).quantize(256)
    truth = np.asarray(palette.convert("RGB")) / 255
    p3_to_srgb = made.encoded(
        made.linear(truth) @ (np.linalg.inv(made.SRGB_TO_XYZ) @ made.to_xyz_d50(P3.primaries, P3.white)).T
    )
    assert made.error(made.saved(palette, "PNG", icc_profile=made.DISPLAY_P3), p3_to_srgb).max() <= LEVELS_MAX
    layered = made.image(values).convert("RGBA")
    layered.putalpha(128)
    on_white = made.drawing() * (128 / 255) + (1 - 128 / 255)
    assert made.error(made.saved(layered, "PNG", icc_profile=made.DISPLAY_P3), on_white).max() <= LEVELS_MAX


def test_a_bmp_has_its_profile_in_its_fifth_header() -> None:
    plain = made.saved(made.image(ADOBE.values), "BMP")
    head = struct.pack("<I", 124) + plain[18:54] + bytes(16) + struct.pack("<I", 0x4D424544) + bytes(48)
    pixels = plain[54:]
    head += struct.pack("<IIII", 4, 124 + len(pixels), len(made.ADOBE_RGB), 0)
    data = (
        b"BM"
        + struct.pack("<IHHI", 138 + len(pixels) + len(made.ADOBE_RGB), 0, 0, 138)
        + head
        + pixels
        + made.ADOBE_RGB
    )
    assert made.error(data).max() <= LEVELS_MAX


def chrm(primaries: tuple[icc.Pair, icc.Pair, icc.Pair], white: icc.Pair) -> bytes:
    values = [round(value * 1e5) for pair in (white, *primaries) for value in pair]
    return made.chunk(b"cHRM", struct.pack(">8I", *values))


def gama(gamma: float) -> bytes:
    return made.chunk(b"gAMA", struct.pack(">I", round(1e5 / gamma)))


def test_a_png_without_profile_goes_by_its_gamma_and_chromaticities() -> None:
    data = made.png_with(gama(2.19921875), chrm(ADOBE.primaries, ADOBE.white), values=ADOBE.values)
    assert made.error(data).max() <= LEVELS_MAX
    dark = made.encoded(made.drawing() ** 1.0)
    assert made.error(made.png_with(gama(1.0)), dark).max() <= LEVELS_MAX


def test_code_points_come_before_a_profile_and_srgb_before_gamma() -> None:
    cicp, iccp = (
        made.chunk(b"cICP", bytes([12, 13, 0, 1])),
        made.chunk(b"iCCP", b"x\0\0" + zlib.compress(made.PROPHOTO)),
    )
    assert made.error(made.png_with(iccp, cicp, values=P3.values)).max() <= LEVELS_MAX
    srgb = made.chunk(b"sRGB", b"\0")
    assert made.error(made.png_with(srgb, gama(1.0), chrm(P3.primaries, P3.white))).max() == 0


@pytest.mark.parametrize(
    "chunks",
    [
        (gama(2.2),),
        (gama(2.2), chrm(icc.SRGB, icc.D65)),
        (chrm(((0.6, 0.3), (0.2, 0.7), (0.1, 0.1)), icc.D65),),
        (made.chunk(b"gAMA", bytes(4)),),
        (made.chunk(b"gAMA", b"\0\0\0\1"),),
        (gama(1.8), made.chunk(b"cHRM", bytes(32))),
        (gama(1.8), made.chunk(b"cHRM", struct.pack(">8I", *[30000] * 8))),
        (made.chunk(b"gAMA", b"x"),),
        (made.chunk(b"cICP", bytes([1, 13, 0, 1])),),
        (made.chunk(b"cICP", b""),),
        (made.chunk(b"cICP", b"\xff\xff\xff\xff"),),
    ],
)
def test_what_means_srgb_or_nothing_changes_nothing(chunks: tuple[bytes, ...]) -> None:
    assert made.error(made.png_with(*chunks)).max() == 0


def broken() -> dict[str, bytes]:
    p3 = made.DISPLAY_P3
    return {
        "noise": np.random.default_rng(1).bytes(3000),
        "empty": b"",
        "cut off": p3[:200],
        "no tags": p3[:128] + bytes(4) + p3[132:],
        "a tag beyond the end": p3[:172] + b"\xff\xff\xff\x00" + p3[176:],
        "too large": p3 + bytes(PROFILE_BYTES_MAX),
        "of CMYK": made.cmyk_profile(),
        "of grey": made.grey_profile(),
        "of Lab": made.profile_file(b"abst", b"Lab ", b"Lab ", {}),
        "a bomb": bytes(100 * 1024**2),
    }


@pytest.mark.parametrize("profile", broken())
def test_a_profile_that_is_broken_too_large_or_of_other_colours_counts_as_none(profile: str) -> None:
    data = made.png_with(made.chunk(b"iCCP", b"x\0\0" + zlib.compress(broken()[profile], 9)))
    assert made.error(data).max() == 0


def test_a_profile_of_some_megabytes_is_read() -> None:
    profile = made.DISPLAY_P3 + np.random.default_rng(1).bytes(3 * 1024**2)
    values = P3.values
    assert made.error(made.png_with(made.chunk(b"iCCP", b"x\0\0" + zlib.compress(profile)), values=values)).max() <= 1
    assert made.error(made.saved(made.image(values), "WEBP", lossless=True, icc_profile=profile)).max() <= 1


def test_pixels_with_a_profile_that_means_srgb_stay_as_they_are() -> None:
    srgb = icc.matrix_profile(icc.SRGB, icc.D65, None)
    assert made.error(made.saved(made.image(), "PNG", icc_profile=srgb)).max() == 0


def test_an_avif_without_profile_goes_by_its_code_points() -> None:
    data = made.saved(made.image(P3.values), "AVIF", quality=100, subsampling="4:4:4")
    at = data.index(b"colrnclx") + 8
    assert made.error(data[:at] + struct.pack(">H", 12) + data[at + 2 :]).max() <= LEVELS_MAX
