"""The child that decodes one picture: `python -m services.edge.decode PICTURE PNG [data:]`, two open descriptors.

It says on standard output how many pixels it will have to work on, waits for a line on standard input, and writes the
PNG; or it refuses, on standard error and with exit code 3. Knows Pillow and limits, and nothing else: whatever a
picture does to this process, it does to nobody else.
"""

import io
import os
import sys
import warnings
from collections.abc import Callable
from typing import BinaryIO

from PIL import Image, ImageFile, ImageOps

from services.edge import structure
from services.edge.data_uri import BadDataUri, decode_data_uri
from services.edge.limits import limit_this_process

CPU_S_MAX = 15
MEMORY_BYTES_MAX = 1280 * 1024**2  # WebP takes 18 bytes a pixel, all others fewer: enough for 50 megapixels
PNG_BYTES_MAX = 192 * 1024**2

PIXELS_MAX = 40_000_000
DEAR_PIXELS_MIN = 16_000_000
SIDE_MIN = 32
SIDE_MAX = 8192
ASPECT_MAX = 8
IMAGE_BYTES_MAX = 20 * 1024 * 1024
JPEG_SCANS_MAX = 100
SCANNED_PIXELS_MAX = 1_000_000_000
"""Pixels times scans."""
SCANS_AS_DEAR_AS_PIXELS = 8
"""So many scans cost about as much as all else that is done with a pixel."""
PNG_COMPRESS_LEVEL = 1
STRIP_ROWS = 64
REFUSED_EXIT = 3

MAGIC = {b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG"}


class Refused(Exception):
    """The text is shown to who sent the picture."""


def main(picture: int, png: int, *, is_inline: bool) -> int:
    limit_this_process(cpu_s=CPU_S_MAX, memory_bytes=MEMORY_BYTES_MAX, file_bytes=PNG_BYTES_MAX)
    try:
        with os.fdopen(png, "wb") as file:
            normalise(read(picture, is_inline=is_inline), file, wait)
    except Refused as refusal:
        sys.stderr.write(str(refusal))
        return REFUSED_EXIT
    except MemoryError:
        sys.stderr.write("it needs too much memory to decode")
        return REFUSED_EXIT
    return 0


def read(descriptor: int, *, is_inline: bool) -> bytes:
    """The bytes of the picture in a file. Raises `Refused`."""
    data = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    try:
        data = decode_data_uri(data) if is_inline else data
    except BadDataUri as error:
        raise Refused(str(error)) from error
    if len(data) > IMAGE_BYTES_MAX:
        raise Refused(f"it is larger than {IMAGE_BYTES_MAX // 1024**2} MB")
    return data


def wait(pixels: int) -> None:
    """Say what decoding will cost, and wait until that may begin."""
    sys.stdout.write(f"{pixels}\n")
    sys.stdout.flush()
    if not sys.stdin.readline():
        sys.exit(0)  # nobody is interested any more


def normalise(data: bytes, png: BinaryIO, may_begin: Callable[[int], None]) -> None:
    """Write the one picture in these bytes as 8-bit RGB PNG: upright, opaque, without metadata. Raises `Refused`."""
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    Image.MAX_IMAGE_PIXELS = PIXELS_MAX
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        kind = kind_of(data)
        scans = scans_of(data, kind)
        may_begin(check(Image.open(io.BytesIO(data), formats=(kind,)), kind, scans))
        picture = Image.open(io.BytesIO(data), formats=(kind,))  # `verify` uses an image up
        picture.load()
        ImageOps.exif_transpose(picture, in_place=True)
        save(opaque(picture), png)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Refused(f"it has more than {PIXELS_MAX // 1_000_000} megapixels") from error
    except structure.TooManyParts as error:
        raise Refused(str(error)) from error
    except (Refused, MemoryError):
        raise
    except Exception as error:  # Pillow raises nearly anything on damaged data
        raise Refused("it is damaged and cannot be decoded") from error


def kind_of(data: bytes) -> str:
    """From the bytes alone, whatever the sender calls it."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    for magic, kind in MAGIC.items():
        if data.startswith(magic):
            return kind
    raise Refused("it is not a PNG, JPEG or WebP image")


def scans_of(data: bytes, kind: str) -> int:
    """How often decoding goes over all pixels. Raises `TooManyParts`."""
    if kind == "JPEG":
        return structure.jpeg_scans(data)
    structure.check_png(data) if kind == "PNG" else structure.check_webp(data)
    return 1


def check(picture: Image.Image, kind: str, scans: int) -> int:
    """Refuse what can be refused before a pixel is decoded. What decoding will cost, in pixels."""
    width, height = picture.size
    seen = f"it is {width}×{height} pixels"
    if not (SIDE_MIN <= width <= SIDE_MAX and SIDE_MIN <= height <= SIDE_MAX):
        raise Refused(f"{seen}; sides may be {SIDE_MIN} to {SIDE_MAX}")
    if width * height > PIXELS_MAX:
        raise Refused(f"{seen}; it may have {PIXELS_MAX // 1_000_000} megapixels")
    if max(width, height) > ASPECT_MAX * min(width, height):
        raise Refused(f"{seen}; one side may be at most {ASPECT_MAX} times the other")
    scans_max = min(JPEG_SCANS_MAX, SCANNED_PIXELS_MAX // (width * height))
    if scans > scans_max:
        raise Refused(f"it has {scans} scans; at its size it may have {scans_max}")
    # A JPEG is one picture; what cameras append (a depth map, a brighter copy) is not a frame.
    if kind != "JPEG" and getattr(picture, "n_frames", 1) > 1:
        raise Refused("it has more than one frame")
    picture.verify()
    return width * height * (1 + scans // SCANS_AS_DEAR_AS_PIXELS)


def opaque(picture: Image.Image) -> Image.Image:
    """8-bit RGB. Converted in strips, so that nothing of the picture's size is made but the result."""
    if picture.mode == "RGB" and "transparency" not in picture.info:
        return picture
    result = Image.new("RGB", picture.size)
    for top in range(0, picture.height, STRIP_ROWS):
        bottom = min(top + STRIP_ROWS, picture.height)
        strip = picture.crop((0, top, picture.width, bottom))
        result.paste(opaque_strip(strip), (0, top))
    return result


def opaque_strip(picture: Image.Image) -> Image.Image:
    """Transparency on white, 16-bit greys scaled rather than clipped."""
    if picture.mode.startswith("I"):
        return picture.convert("I").point(lambda grey: grey * (1 / 257)).convert("L").convert("RGB")
    if "A" in picture.mode or "a" in picture.mode or "transparency" in picture.info:
        layered = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered).convert("RGB")
    return picture.convert("RGB")


def save(picture: Image.Image, png: BinaryIO) -> None:
    """The pixels, and nothing else of the original."""
    picture.info = {}
    picture.save(png, "PNG", compress_level=PNG_COMPRESS_LEVEL)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), is_inline=sys.argv[3] == "data:"))
