"""Pictures for tests: one drawing in many colour spaces and formats, and ICC profiles of grey and of CMYK."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from services.edge.image.decode import write_normalised_png
from services.edge.image.picture import icc

Pixels = npt.NDArray[np.float64]

DISPLAY_P3 = icc.matrix_profile(((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)), icc.D65, None)
ADOBE_RGB = icc.matrix_profile(((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)), icc.D65, 2.19921875)
PROPHOTO = icc.matrix_profile(((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001)), (0.3457, 0.3585), 1.8)
GREY_GAMMA = 1.4
GRID = 17

SRGB_TO_XYZ = np.array(
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)
"""Linear sRGB to XYZ under D50 (Lindbloom)."""


def drawing(size: tuple[int, int] = (96, 64)) -> Pixels:
    """Colours of sRGB, from 0 to 1: ramps of every hue, kept off the corners of the gamut."""
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    hue, level = 6 * x / size[0], 0.15 + 0.75 * y / size[1]
    pure = np.stack(
        [np.clip(np.abs(hue - 3) - 1, 0, 1), np.clip(2 - np.abs(hue - 2), 0, 1), np.clip(2 - np.abs(hue - 4), 0, 1)], -1
    )
    return level[..., None] * (0.15 + 0.8 * pure)


def linear(srgb: Pixels) -> Pixels:
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def encoded(light: Pixels) -> Pixels:
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def levels(values: Pixels, most: int = 255) -> npt.NDArray[Any]:
    return np.round(np.clip(values, 0, 1) * most).astype(np.uint8 if most == 255 else np.uint16)


def in_space(primaries: tuple[icc.Pair, icc.Pair, icc.Pair], white: icc.Pair, gamma: float | None) -> Pixels:
    """The drawing in the numbers of another RGB space, computed here and not by what is tested."""
    xyz = linear(drawing()) @ SRGB_TO_XYZ.T
    light = xyz @ np.linalg.inv(to_xyz_d50(primaries, white)).T
    return encoded(light) if gamma is None else np.clip(light, 0, 1) ** (1 / gamma)


def to_xyz_d50(primaries: tuple[icc.Pair, icc.Pair, icc.Pair], white: icc.Pair) -> Pixels:
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
    white_xyz = np.array([white[0] / white[1], 1, (1 - white[0] - white[1]) / white[1]])
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    scale = (bradford @ np.array([0.9642, 1, 0.8249])) / (bradford @ white_xyz)
    adapt = np.linalg.inv(bradford) @ np.diag(scale) @ bradford
    return adapt @ (columns * np.linalg.solve(columns, white_xyz))


def ink_to_srgb(cmyk: Pixels) -> Pixels:
    """A simple press: each ink takes its part of the light, and none is pure."""
    c, m, y, k = (cmyk[..., channel, None] for channel in range(4))
    light = (
        (1 - c * np.array([0.9, 0.4, 0.1]))
        * (1 - m * np.array([0.15, 0.9, 0.45]))
        * (1 - y * np.array([0.02, 0.1, 0.9]))
    )
    return encoded(light * (1 - 0.95 * k))


def cmyk_profile() -> bytes:
    """A profile with a table from ink to Lab, as that press prints."""
    axis = np.linspace(0, 1, GRID)
    inks = np.stack(np.meshgrid(axis, axis, axis, axis, indexing="ij"), -1).reshape(-1, 4)
    lab = _lab(linear(ink_to_srgb(inks)) @ SRGB_TO_XYZ.T)
    table = np.round(np.stack([lab[:, 0] * 2.55, lab[:, 1] + 128, lab[:, 2] + 128], -1)).astype(np.uint8)
    identity = b"".join(struct.pack(">i", value << 16) for value in (1, 0, 0, 0, 1, 0, 0, 0, 1))
    curve = bytes(range(256))
    lut = b"mft1" + bytes(4) + bytes([4, 3, GRID, 0]) + identity + curve * 4 + table.tobytes() + curve * 3
    return profile_file(b"prtr", b"CMYK", b"Lab ", {b"A2B0": lut})


def grey_profile(gamma: float = GREY_GAMMA) -> bytes:
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    return profile_file(b"mntr", b"GRAY", b"XYZ ", {b"kTRC": curve})


def _lab(xyz: Pixels) -> Pixels:
    scaled = xyz / np.array([0.9642, 1, 0.8249])
    f = np.where(scaled > 216 / 24389, np.cbrt(scaled), (24389 / 27 * scaled + 16) / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)


def profile_file(kind: bytes, space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile of version 2."""
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 6) + b"drawn\0" + bytes(78),
        b"cprt": b"text" + bytes(4) + b"CC0\0",
        b"wtpt": b"XYZ " + bytes(4) + struct.pack(">iii", 63190, 65536, 54061),
        **tags,
    }
    table, body, at = b"", b"", 132 + 12 * len(tags)
    for name, tag in tags.items():
        table += name + struct.pack(">II", at + len(body), len(tag))
        body += tag + bytes(-len(tag) % 4)
    head = struct.pack(">I4sI4s4s4s", at + len(body), b"none", 0x02400000, kind, space, connection)
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + struct.pack(">iii", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def image(values: Pixels | None = None) -> Image.Image:
    return Image.fromarray(levels(drawing() if values is None else values))


def decoded(data: bytes) -> Image.Image:
    """Return the decoded picture. The decoder runs in this process, not in a child."""
    png = io.BytesIO()
    write_normalised_png(data, png, lambda _: None)
    return Image.open(png, formats=("PNG",))


def error(data: bytes, truth: Pixels | None = None) -> Pixels:
    """Mean error per channel, in grey levels, against the drawing or another truth."""
    wanted = levels(drawing() if truth is None else truth).astype(int)
    return np.abs(np.asarray(decoded(data)).astype(int) - wanted).reshape(-1, 3).mean(0)


def chunk(kind: bytes, body: bytes, *, crc: int | None = None) -> bytes:
    """A chunk of a PNG."""
    return (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body) if crc is None else crc)
    )


def png_with(*chunks: bytes, values: Pixels | None = None) -> bytes:
    """The drawing as PNG, with these chunks after its head."""
    plain = saved(image(values), "PNG")
    return plain[:33] + b"".join(chunks) + plain[33:]
