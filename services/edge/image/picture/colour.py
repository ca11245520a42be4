"""Convert the pixels of a picture to 8-bit sRGB by its ICC profile, and put transparency on white.

The picture is converted in strips, so that only the result takes memory of the picture's size. A profile that is
broken, too large, or of another colour space than the pixels counts as none.
"""

import io

from PIL import Image, ImageChops

from services.edge.image.picture.essence import GREYS, PROFILE_BYTES_MAX

STRIP_ROWS = 64
LEVELS_SAME = 1
"""A conversion that moves no colour by more levels than this is left out."""
_SAMPLES = bytes(range(0, 256, 17))
_SPACE_AT = 16
_SPACES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}
_GREYS = ("1", "L", "LA", "La")


def srgb(picture: Image.Image, profile: bytes | None, greys: tuple[int, int] = GREYS) -> Image.Image:
    """Return the picture as 8-bit sRGB, opaque on white: a new one, or itself if nothing is to be done.

    `profile` is an ICC profile; a broken one counts as none. `greys` are the samples of black and white in a grey of
    more than 8 bits.
    """
    convert = _conversion(profile, picture.mode)
    if convert is None and picture.mode == "RGB" and "transparency" not in picture.info:
        return picture
    result = Image.new("RGB", picture.size)
    for top in range(0, picture.height, STRIP_ROWS):
        bottom = min(top + STRIP_ROWS, picture.height)
        strip = picture.crop((0, top, picture.width, bottom))
        strip = _of_8_bits(strip, greys) if strip.mode.startswith("I") else strip
        result.paste(_opaque(strip, convert), (0, top))
    return result


def _of_8_bits(strip: Image.Image, greys: tuple[int, int]) -> Image.Image:
    """Return a grey of more bits scaled to 8: "L", or "LA" if the file calls one of its samples transparent."""
    wide, (black, white) = strip.convert("I"), greys
    scale = 255 / (white - black)
    grey = wide.point(lambda sample: sample * scale + (-black * scale)).convert("L")
    clear = strip.info.get("transparency")
    if not isinstance(clear, int):
        return grey
    above = wide.point(lambda sample: sample * 255 + (-255 * clear)).convert("L")
    below = wide.point(lambda sample: sample * -255 + 255 * clear).convert("L")
    return Image.merge("LA", (grey, ImageChops.lighter(above, below)))


def _opaque(strip: Image.Image, convert: "_Conversion | None") -> Image.Image:
    """Return the strip in sRGB, with its transparency on white."""
    if not strip.has_transparency_data:
        return _seen(strip, convert)
    layered = strip.convert("RGBA")
    white = Image.new("RGB", strip.size, "white")
    white.paste(_seen(layered, convert), mask=layered.getchannel("A"))
    return white


def _seen(strip: Image.Image, convert: "_Conversion | None") -> Image.Image:
    """Return the strip in sRGB by the conversion, if there is one, with its transparency dropped."""
    if convert is None:
        return strip.convert("RGB")
    return convert(strip)


class _Conversion:
    """Converts pictures from a profile's colours to sRGB. One for each picture that needs it.

    `space` is Pillow's mode for the profile's colours. A broken profile raises nearly anything.
    """

    def __init__(self, profile: bytes, space: str) -> None:
        from PIL import ImageCms  # noqa: PLC0415  # most pictures have no profile

        self._space, self._apply = space, ImageCms.applyTransform
        self._transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")),  # pyright: ignore[reportUnknownArgumentType]  # Pillow leaves it untyped
            space,
            "RGB",
            renderingIntent=ImageCms.Intent.PERCEPTUAL,
        )

    def __call__(self, picture: Image.Image) -> Image.Image:
        converted = self._apply(picture.convert(self._space), self._transform)
        assert converted is not None  # noqa: S101  # None is returned only if the conversion is in place
        return converted

    def changes(self) -> bool:
        """Return whether any colour is moved by more than rounding can explain."""
        if self._space == "CMYK":
            return True
        levels = [(r, g, b) for r in _SAMPLES for g in _SAMPLES for b in _SAMPLES]
        sample = Image.new("RGB", (len(levels), 1))
        sample.putdata(levels)
        sample = sample.convert(self._space)
        before, after = sample.convert("RGB").tobytes(), self(sample).tobytes()
        return any(abs(level - moved) > LEVELS_SAME for level, moved in zip(before, after, strict=True))


def _conversion(profile: bytes | None, mode: str) -> _Conversion | None:
    """Return the conversion of pixels of this mode by a profile; None if none is needed or possible."""
    if not profile or len(profile) > PROFILE_BYTES_MAX:
        return None
    space = _SPACES.get(profile[_SPACE_AT : _SPACE_AT + 4])
    is_grey = mode in _GREYS or mode.startswith("I")
    if space is None or (space == "CMYK") != (mode == "CMYK") or (space == "L" and not is_grey) or mode == "LAB":
        return None
    try:
        conversion = _Conversion(profile, space)
        return conversion if conversion.changes() else None
    except Exception:  # noqa: BLE001  # littlecms raises nearly anything on a broken profile
        return None


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright(picture: Image.Image, orientation: int) -> Image.Image:
    """Return the picture turned as its EXIF orientation (1 to 8) says; itself if that is upright or unknown."""
    turn = _TURNS.get(orientation)
    return picture if turn is None else picture.transpose(turn)
