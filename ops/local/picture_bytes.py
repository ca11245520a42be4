"""Checks a picture before the demo starts a stack for it: returns its kind and size, or says why it cannot be used.

The service is the judge of pictures. Refused here are bytes that no decoder reads, and sides that the service refuses,
so that no stack starts in vain.
"""

import codecs
import io
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec

from msgspec import Struct
from PIL import Image, ImageFile, PngImagePlugin

from ops.local.picture_limits import beyond_limits

TAKEN = ("PNG", "JPEG", "WebP", "AVIF", "GIF", "BMP", "TIFF")
HEIC, HEIC_PACKAGE = "HEIC", "pillow_heif"
"""The service also takes HEIC if this package is installed."""
STILL = ("GIF", "PNG", "WebP", "AVIF")
"""Kinds that may be animated; several pictures in a file of another kind are previews."""
BYTES_MAX = 20 * 1024**2
TEXT_BYTES_MAX = 64 * 1024**2
ORIENTATION, ON_ITS_SIDE = 0x0112, (5, 6, 7, 8)
JPEG_END, SOME_MORE = b"\xff\xd9", b"\x55" * 64

_MAGIC = (
    ("PNG", 0, b"\x89PNG\r\n\x1a\n"),
    ("JPEG", 0, b"\xff\xd8\xff"),
    ("WebP", 8, b"WEBP"),
    ("GIF", 0, b"GIF8"),
    ("BMP", 0, b"BM"),
    ("TIFF", 0, b"II*\0"),
    ("TIFF", 0, b"MM\0*"),
    *(("AVIF", 4, b"ftyp" + brand) for brand in (b"avif", b"avis")),
    *(("HEIC", 4, b"ftyp" + brand) for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")),
    ("MP4 or MOV film", 4, b"ftyp"),
    ("AVI film", 8, b"AVI "),
    ("Matroska or WebM film", 0, b"\x1aE\xdf\xa3"),
    ("JPEG XL", 0, b"\xff\x0a"),
    ("JPEG XL", 4, b"JXL "),
    ("JPEG 2000", 4, b"jP  "),
    ("JPEG 2000", 0, b"\xff\x4f\xff\x51"),
    ("Photoshop file", 0, b"8BPS"),
    ("icon (ICO)", 0, b"\0\0\1\0"),
    ("PDF", 0, b"%PDF"),
    ("ZIP archive", 0, b"PK\3\4"),
    ("git-lfs pointer (run `git lfs pull`)", 0, b"version https://git-lfs"),
)
_MARKUP = (("SVG", b"<svg"), ("web page", b"<html"), ("web page", b"<!doctype html"))
_MARKUP_WITHIN_BYTES = 1024


class Picture(Struct, frozen=True):
    """A picture's media type, and its sides in pixels as a viewer shows it."""

    media_type: str
    width: int
    height: int


def look(data: bytes) -> Picture:
    """Return media type and size of the picture. Raises `ValueError` with a sentence for the user if it is unusable.

    Every pixel is decoded. HEIC registers its decoder with Pillow for the rest of the process.
    """
    if not data:
        raise ValueError("the picture is empty")
    kind = _kind(data)
    if kind == HEIC and find_spec(HEIC_PACKAGE):
        import_module(HEIC_PACKAGE).register_heif_opener()
    elif kind not in TAKEN:
        raise ValueError(f"the picture is {_with_article(kind)}; it may be {', '.join(TAKEN[:-1])} or {TAKEN[-1]}")
    if len(data) > BYTES_MAX:
        raise ValueError(f"the picture is larger than {BYTES_MAX // 1024**2} MB")
    try:
        with _lenient(), _opened(data, kind) as image:
            frames = getattr(image, "n_frames", 1)
            size = image.size
            seen = Picture(Image.MIME[_format(kind)], *_upright_size(image))
    except Exception as error:  # Pillow raises nearly anything on damaged data
        raise ValueError(_damaged(kind)) from error
    if (wrong := beyond_limits(*size)) is not None:
        raise ValueError(f"the picture is not taken: {wrong}")
    if frames > 1 and kind in STILL:
        raise ValueError(f"the picture is an animated {kind}; it may have one frame")
    if not _decodes(data, kind):
        raise ValueError(_damaged(kind))
    return seen


def _kind(data: bytes) -> str:
    """Return the kind of a file by its first bytes, in words for the user, such as `PNG` or `web page`.

    Without known bytes it is `text` or `something else`.
    """
    for kind, at, magic in _MAGIC:
        if data.startswith(magic, at):
            return kind
    beginning = data[:_MARKUP_WITHIN_BYTES].lower()
    for kind, tag in _MARKUP:
        if tag in beginning:
            return kind
    return "text" if _is_text(beginning) else "something else"


_Utf8 = codecs.getincrementaldecoder("utf-8")


def _is_text(beginning: bytes) -> bool:
    """Return whether the bytes begin a text in UTF-8: printable, or without control characters below the tab."""
    try:
        text = _Utf8().decode(beginning)  # the last character may be cut off
    except UnicodeDecodeError:
        return False
    return text.isprintable() or not set(beginning) & set(range(9))


def _with_article(kind: str) -> str:
    """Return the words for a kind with `a` or `an`, if they take one."""
    if kind in ("text", "something else"):
        return kind
    return f"{'an' if kind[0].lower() in 'aeio' or kind in ('SVG', 'MP4 or MOV film') else 'a'} {kind}"


def _damaged(kind: str) -> str:
    """Return the sentence for the user about a damaged picture of this kind."""
    return f"the picture is {_with_article(kind)}, but damaged: it cannot be decoded to its end"


@contextmanager
def _lenient() -> Generator[None, None, None]:
    """Have Pillow ignore faults outside the pixels, inside the block: checksums, long texts, odd metadata.

    Pillow's own limit of pixels is off, too. All of it holds for every thread of the process.
    """
    before = ImageFile.LOAD_TRUNCATED_IMAGES, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
    pixels_max, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # `beyond_limits` is asked before decoding
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = TEXT_BYTES_MAX
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = before
        Image.MAX_IMAGE_PIXELS = pixels_max


def _opened(data: bytes, kind: str) -> Image.Image:
    """Return the picture, of which Pillow has read the head only.

    Raises what Pillow raises if it is not of this kind.
    """
    return Image.open(io.BytesIO(data), formats=(_format(kind),))


def _format(kind: str) -> str:
    """Return Pillow's name of a kind."""
    return "HEIF" if kind == HEIC else kind.upper()


def _upright_size(image: Image.Image) -> tuple[int, int]:
    """Return width and height as a viewer shows the picture, turned by its EXIF orientation."""
    try:
        turned = image.getexif().get(ORIENTATION) in ON_ITS_SIDE
    except Exception:  # noqa: BLE001  # metadata that cannot be read turns nothing
        turned = False
    return (image.height, image.width) if turned else image.size


def _decodes(data: bytes, kind: str) -> bool:
    """Return whether every pixel can be decoded; a JPEG may lack its end marker."""
    if _pixels(data, kind) is not None:
        return True
    if kind != "JPEG":
        return False
    # A JPEG may lack only its end marker. Then no pixel is missing, and bytes after the data change no pixel.
    data = data.rstrip(b"\xff")
    ended = _pixels(data + JPEG_END, kind)
    return ended is not None and ended == _pixels(data + SOME_MORE + JPEG_END, kind)


def _pixels(data: bytes, kind: str) -> bytes | None:
    """Return the pixels, or None if the data ends too early or cannot be decoded."""
    try:
        with _lenient(), _opened(data, kind) as image:
            ImageFile.LOAD_TRUNCATED_IMAGES = False
            return image.tobytes()
    except Exception:  # noqa: BLE001  # Pillow raises nearly anything on damaged data
        return None
