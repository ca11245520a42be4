"""The essence of a picture file: the bytes for a decoder, and the metadata on which the look of its pixels depends."""

from typing import NamedTuple

UPRIGHT = 1
GREYS = (0, 65535)
PROFILE_BYTES_MAX = 8 * 1024**2
"""A larger colour profile counts as none."""


class Refused(Exception):
    """The picture is refused. The text says why, and is shown to the client."""


DAMAGED = "it is damaged and cannot be decoded"


class Essence(NamedTuple):
    """A picture file, reduced to what its pixels need.

    `format` is Pillow's name. `orientation` is that of EXIF, 1 to 8. `profile` is an ICC profile, if the file has one
    that Pillow does not return. `greys` are the samples of black and white, if a grey has more than 8 bits. `passes` is
    how often decoding goes over all pixels. `is_open_ended` says that the end of the file is missing, so that pixels
    may be missing too.
    """

    data: bytes
    format: str
    orientation: int = UPRIGHT
    profile: bytes | None = None
    greys: tuple[int, int] = GREYS
    passes: int = 1
    is_open_ended: bool = False
