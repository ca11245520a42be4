"""Make ICC profiles from primaries, a white point and a tone curve (ICC.1, matrix/TRC profiles). Pure."""

import struct
from collections.abc import Sequence

Pair = tuple[float, float]
"""A chromaticity: x and y of CIE 1931."""
Row = tuple[float, float, float]
"""A colour in XYZ, or a row of a matrix."""

D65: Pair = (0.3127, 0.3290)
D50_XYZ: Row = (0.9642, 1.0, 0.8249)
SRGB: tuple[Pair, Pair, Pair] = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
SRGB_CHRM = struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
GAMMA = 1 / 2.2
GAMMA_TOLERANCE = 0.05
"""libpng's tolerance: a gamma as near to 1 / 2.2 as this counts as sRGB's."""
CHROMATICITY_TOLERANCE = 0.002

_BRADFORD: tuple[Row, Row, Row] = ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_PRIMARIES: dict[int, tuple[tuple[Pair, Pair, Pair], Pair]] = {
    4: (((0.67, 0.33), (0.21, 0.71), (0.14, 0.08)), (0.310, 0.316)),
    5: (((0.64, 0.33), (0.29, 0.60), (0.15, 0.06)), D65),
    6: (((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)), D65),
    7: (((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)), D65),
    9: (((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)), D65),
    11: (((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)), (0.314, 0.351)),
    12: (((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)), D65),
    22: (((0.630, 0.340), (0.295, 0.605), (0.155, 0.077)), D65),
}
"""Primaries and white point by the code points of ITU-T H.273. 1 is sRGB's own, 2 means unknown."""
_GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0}
"""Transfer functions of H.273 that are a plain power; all others, also those of HDR, count as sRGB's."""


def of_code_points(primaries: int, transfer: int) -> bytes | None:
    """Return the profile of two code points (H.273); None if they mean sRGB, or are unknown."""
    if primaries not in _PRIMARIES and transfer not in _GAMMAS:
        return None
    corners, white = _PRIMARIES.get(primaries, (SRGB, D65))
    return matrix_profile(corners, white, _GAMMAS.get(transfer))


def of_gamma(gamma: float, chromaticities: Sequence[float]) -> bytes | None:
    """Return the profile of a file's gamma and chromaticities; None if they mean sRGB, or the gamma is not positive.

    `gamma` is that of encoding, such as 1 / 2.2. `chromaticities` are x and y of white, red, green and blue. Raises
    `ValueError` for impossible colours.
    """
    pairs = list(zip(chromaticities[::2], chromaticities[1::2], strict=True))
    usual = [D65, *SRGB]
    is_usual = all(
        abs(value - wanted) < CHROMATICITY_TOLERANCE
        for pair, want in zip(pairs, usual, strict=True)
        for value, wanted in zip(pair, want, strict=True)
    )
    is_plain = abs(gamma / GAMMA - 1) <= GAMMA_TOLERANCE
    if gamma <= 0 or (is_usual and is_plain):
        return None
    return matrix_profile((pairs[1], pairs[2], pairs[3]), pairs[0], 1 / gamma)


def matrix_profile(primaries: tuple[Pair, Pair, Pair], white: Pair, gamma: float | None) -> bytes:
    """Return an RGB profile as a file. `primaries` are red, green and blue.

    `gamma` is that of decoding, such as 2.2; without it, the curve is sRGB's. Raises `ValueError` for impossible ones.
    """
    white_xyz = _xyz_of(white)
    corners = [_xyz_of(pair) for pair in primaries]
    weights = _solved(corners, white_xyz)
    adapted = [_adapted(_scaled(corner, weight), white_xyz) for corner, weight in zip(corners, weights, strict=True)]
    curve = _curve(gamma)
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 6) + b"plain\0" + bytes(78),
        b"cprt": b"text" + bytes(4) + b"CC0\0",
        b"wtpt": _xyz_tag(D50_XYZ),
        **{name: _xyz_tag(xyz) for name, xyz in zip((b"rXYZ", b"gXYZ", b"bXYZ"), adapted, strict=True)},
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
    }
    return _file(tags)


def _xyz_of(pair: Pair) -> Row:
    """Return the XYZ of a chromaticity at luminance 1. Raises `ValueError`."""
    x, y = pair
    if y <= 0:
        raise ValueError("a chromaticity without luminance")
    return x / y, 1.0, (1 - x - y) / y


def _scaled(row: Row, by: float) -> Row:
    return row[0] * by, row[1] * by, row[2] * by


def _determinant(a: Row, b: Row, c: Row) -> float:
    return a[0] * (b[1] * c[2] - b[2] * c[1]) - a[1] * (b[0] * c[2] - b[2] * c[0]) + a[2] * (b[0] * c[1] - b[1] * c[0])


def _solved(columns: Sequence[Row], target: Row) -> Row:
    """Return the weights by which the columns add up to the target (Cramer's rule). Raises `ValueError`."""
    a, b, c = columns
    whole = _determinant(a, b, c)
    if abs(whole) < 1e-9:
        raise ValueError("primaries on one line")
    return (
        _determinant(target, b, c) / whole,
        _determinant(a, target, c) / whole,
        _determinant(a, b, target) / whole,
    )


def _times(rows: tuple[Row, Row, Row], column: Row) -> Row:
    """Return the product of a matrix and a column."""
    first, second, third = (sum(factor * value for factor, value in zip(row, column, strict=True)) for row in rows)
    return first, second, third


def _adapted(xyz: Row, white: Row) -> Row:
    """Return the XYZ of a colour under this white, adapted to D50 (Bradford)."""
    cone, cone_white, cone_d50 = (_times(_BRADFORD, row) for row in (xyz, white, D50_XYZ))
    moved = [value * to / of for value, to, of in zip(cone, cone_d50, cone_white, strict=True)]
    columns: tuple[Row, Row, Row] = tuple(zip(*_BRADFORD, strict=True))  # pyright: ignore[reportAssignmentType]
    return _solved(columns, (moved[0], moved[1], moved[2]))


def _fixed(value: float) -> bytes:
    """Return a number as an s15Fixed16Number."""
    return struct.pack(">i", round(value * 65536))


def _xyz_tag(xyz: Row) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(_fixed(value) for value in xyz)


def _curve(gamma: float | None) -> bytes:
    """Return a tag with a parametric curve: a plain power, or sRGB's curve if `gamma` is None."""
    kind, values = (3, _SRGB_CURVE) if gamma is None else (0, (gamma,))
    return b"para" + bytes(4) + struct.pack(">HH", kind, 0) + b"".join(_fixed(value) for value in values)


def _file(tags: dict[bytes, bytes]) -> bytes:
    """Return the profile with these tags, as a file."""
    table, body, at = b"", b"", 132 + 12 * len(tags)
    for name, tag in tags.items():
        padded = tag + bytes(-len(tag) % 4)
        table += name + struct.pack(">II", at + len(body), len(tag))
        body += padded
    head = struct.pack(">I4sI4s4s4s", at + len(body), b"none", 0x04000000, b"mntr", b"RGB ", b"XYZ ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + b"".join(_fixed(value) for value in D50_XYZ)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body
