"""The child that decodes one image: bytes on standard input, PNG on standard output, or a refusal and exit code 3.

Knows Pillow and limits, and nothing else: whatever an image does to this process, it does to nobody else.
"""

import io
import resource
import sys
import warnings

from PIL import Image, ImageFile, ImageOps

CPU_S_MAX = 15
MEMORY_BYTES_MAX = 2 * 1024**3
FILES_MAX = 16

PIXELS_MAX = 40_000_000
SIDE_MIN = 32
SIDE_MAX = 8192
ASPECT_MAX = 8
JPEG_SCANS_MAX = 100  # each scan of a progressive JPEG costs a pass over all pixels
JPEG_SCAN = b"\xff\xda"
PNG_COMPRESS_LEVEL = 1
REFUSED_EXIT = 3

MAGIC = {b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG"}


class Refused(Exception):
    """The text is shown to who sent the image."""


def main() -> int:
    limit_this_process()
    try:
        sys.stdout.buffer.write(normalise(sys.stdin.buffer.read()))
    except Refused as refusal:
        sys.stderr.write(str(refusal))
        return REFUSED_EXIT
    return 0


def limit_this_process() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S_MAX, CPU_S_MAX))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES_MAX, FILES_MAX))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def normalise(data: bytes) -> bytes:
    """The one picture in these bytes as 8-bit RGB PNG: upright, opaque, without metadata. Raises `Refused`."""
    kind = kind_of(data)
    if kind == "JPEG" and data.count(JPEG_SCAN) > JPEG_SCANS_MAX:
        raise Refused(f"it has more than {JPEG_SCANS_MAX} scans")
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    Image.MAX_IMAGE_PIXELS = PIXELS_MAX
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        check(Image.open(io.BytesIO(data), formats=(kind,)), kind)
        picture = Image.open(io.BytesIO(data), formats=(kind,))  # `verify` uses an image up
        picture.load()
        upright = ImageOps.exif_transpose(picture)
        return png_of(opaque(upright))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Refused(f"it has more than {PIXELS_MAX // 1_000_000} megapixels") from error
    except MemoryError as error:
        raise Refused("it needs too much memory to decode") from error
    except Refused:
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


def check(picture: Image.Image, kind: str) -> None:
    """Everything that can be told before a pixel is decoded."""
    width, height = picture.size
    seen = f"it is {width}×{height} pixels"
    if not (SIDE_MIN <= width <= SIDE_MAX and SIDE_MIN <= height <= SIDE_MAX):
        raise Refused(f"{seen}; sides may be {SIDE_MIN} to {SIDE_MAX}")
    if width * height > PIXELS_MAX:
        raise Refused(f"{seen}; it may have {PIXELS_MAX // 1_000_000} megapixels")
    if max(width, height) > ASPECT_MAX * min(width, height):
        raise Refused(f"{seen}; one side may be at most {ASPECT_MAX} times the other")
    # A JPEG is one picture; what cameras append (a depth map, a brighter copy) is not a frame.
    if kind != "JPEG" and getattr(picture, "n_frames", 1) > 1:
        raise Refused("it has more than one frame")
    picture.verify()


def opaque(picture: Image.Image) -> Image.Image:
    """8-bit RGB: transparency on white, 16-bit greys scaled rather than clipped."""
    if picture.mode.startswith("I"):
        return picture.convert("I").point(lambda grey: grey * (1 / 257)).convert("L").convert("RGB")
    if picture.mode == "RGB" and "transparency" not in picture.info:
        return picture
    if "A" in picture.mode or "a" in picture.mode or "transparency" in picture.info:
        layered = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered).convert("RGB")
    return picture.convert("RGB")


def png_of(picture: Image.Image) -> bytes:
    """Rebuilt from the pixels, so that nothing else of the original survives."""
    bare = Image.frombytes("RGB", picture.size, picture.tobytes())
    file = io.BytesIO()
    bare.save(file, "PNG", compress_level=PNG_COMPRESS_LEVEL)
    return file.getvalue()


if __name__ == "__main__":
    sys.exit(main())
