"""The essence of a picture file: what a decoder is given, and what says how the pixels are to be seen. Pure."""

from typing import NamedTuple

UPRIGHT = 1
GREYS = (0, 65535)
PROFILE_BYTES_MAX = 8 * 1024**2
"""A larger colour profile counts as none."""


class Refused(Exception):
    """The picture is not taken; the text is shown to who sent it."""


DAMAGED = "it is damaged and cannot be decoded"


class Essence(NamedTuple):
    """A picture file without anything that its pixels do not need.

    `format` is Pillow's name. `orientation` is that of EXIF, 1 to 8. `profile` is an ICC profile, if the file has one
    that Pillow does not hand over. `greys` are the samples that mean black and white, if a grey has more than 8 bits.
    `passes` says how often decoding goes over all pixels. `is_open_ended` says that
    the end of the file is missing, so that pixels may be missing too.
    """

    data: bytes
    format: str
    orientation: int = UPRIGHT
    profile: bytes | None = None
    greys: tuple[int, int] = GREYS
    passes: int = 1
    is_open_ended: bool = False
