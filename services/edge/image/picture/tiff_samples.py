"""Check the samples of a TIFF, and refuse those that are not read by their names. Pure.

A decoder would paint other samples black, or call the file damaged.
"""

from collections.abc import Mapping

from services.edge.image.picture.essence import GREYS, Refused

BITS, COMPRESSION, PHOTOMETRIC, SAMPLES, PLANES, SAMPLE_FORMAT = 258, 259, 262, 277, 284, 339
TAGS = frozenset((BITS, COMPRESSION, PHOTOMETRIC, SAMPLES, PLANES, SAMPLE_FORMAT))
Values = Mapping[int, tuple[int, ...]]
"""The numbers of each tag that the file has."""

_READ = "whole numbers of up to 16 bits are read, without a sign"
_FORMATS = {
    2: "{bits}-bit signed integer samples",
    3: "floating-point samples",
    5: "complex samples",
    6: "complex samples",
}
_WHITE_IS_ZERO, _BLACK_IS_ZERO = 0, 1
_COLOURS: dict[int, dict[int, tuple[int, ...]]] = {
    _WHITE_IS_ZERO: {1: (1, 2, 4, 8, 12, 16)},
    _BLACK_IS_ZERO: {1: (1, 2, 4, 8, 12, 16), 2: (8,)},
    2: {3: (8, 16), 4: (8, 16), 5: (8,), 6: (8,)},
    3: {1: (1, 2, 4, 8), 2: (8,)},
    5: {4: (8, 16), 5: (8,), 6: (8,)},
    6: {1: (8,), 3: (8,)},
    8: {3: (8,)},
}
"""Colour space (photometric interpretation), samples a pixel, and the bits that a sample may have."""
_RAW = (32803, 34892)
_COMPRESSIONS = frozenset((1, 2, 3, 4, 5, 6, 7, 8, 32771, 32773, 32809, 32946, 34925, 50000, 50001))
_BITS_PLAIN = 8
_BITS_OF_SCANNERS = 12
_PLAIN, _SEPARATE = 1, 2
"""No compression; one plane after the other."""


def checked_greys(values: Values, *, is_big_endian: bool = False) -> tuple[int, int]:
    """Return the samples of black and of white in a grey of more than 8 bits; `GREYS` for all other pictures.

    Raises `Refused` for samples that are not read.
    """
    bits, photometric = max(values.get(BITS, (1,))), values.get(PHOTOMETRIC, (0,))[0]
    _check_kind(values, bits, photometric)
    _check_layout(values, bits, photometric, is_big_endian=is_big_endian)
    if photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO) or bits <= _BITS_PLAIN:
        return GREYS
    white = 2**bits - 1
    return (white, 0) if photometric == _WHITE_IS_ZERO else (0, white)


def _check_kind(values: Values, bits: int, photometric: int) -> None:
    """Raise `Refused` for samples that are not unsigned numbers of up to 16 bits, or have an unknown colour space."""
    for form in values.get(SAMPLE_FORMAT, ()):
        if form in _FORMATS:
            raise Refused(f"this is a TIFF of {_FORMATS[form].format(bits=bits)}; {_READ}")
    if photometric in _RAW:
        raise Refused("this is a camera's raw file")
    if photometric not in _COLOURS:
        raise Refused("this is a TIFF of a colour space that is not read here")
    if bits > GREYS[1].bit_length():
        raise Refused(f"this is a TIFF of {bits}-bit integer samples; {_READ}")


def _check_layout(values: Values, bits: int, photometric: int, *, is_big_endian: bool) -> None:
    """Raise `Refused` for samples, of this many bits, that the decoder does not unpack, or unpacks wrongly.

    For samples that `_check_kind` has passed.
    """
    compression = values.get(COMPRESSION, (_PLAIN,))[0]
    if compression not in _COMPRESSIONS:
        raise Refused("this is a TIFF of a compression that is not read here")
    count = values[SAMPLES][0] if SAMPLES in values and BITS in values else None
    if count is not None and bits not in _COLOURS[photometric].get(count, ()):
        raise Refused(f"this is a TIFF of {count} samples of {bits} bits a pixel, which is not read here")
    is_wide = bits > _BITS_PLAIN
    if is_wide and (count or 1) > 1 and compression == _PLAIN and values.get(PLANES, (1,))[0] == _SEPARATE:
        raise Refused(f"this is a TIFF of {bits}-bit colours, plane by plane and uncompressed, which is not read here")
    if bits == _BITS_OF_SCANNERS and is_big_endian:
        raise Refused(f"this is a big-endian TIFF of {bits}-bit samples, which is not read here")
