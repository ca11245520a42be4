"""The child that decodes one image, with two files: the image, and an empty one for the PNG.

`normalise` has it forked as a sandbox: a hostile image (a decompression bomb, an exploit) harms this process alone.
"""

import hashlib
import io
import math
import os
import re
import socket
import warnings
from collections.abc import Callable, Sequence
from typing import BinaryIO

from PIL import Image, ImageFile

from services.edge.image.data_uri import INLINE, BadDataUri, decode_data_uri
from services.edge.image.picture import colour, exif, kinds, plain_png, shrink
from services.edge.image.picture.essence import DAMAGED, PROFILE_BYTES_MAX, Essence, Refused
from services.edge.resources.child_limits import limit_this_process

CPU_S_MAX = 15
MEMORY_BYTES_MAX = 1280 * 1024**2  # WebP takes 18 bytes a pixel, all others fewer: enough for 50 megapixels
PNG_BYTES_MAX = 192 * 1024**2
PIXELS_MAX = 50_000_000
DEAR_PIXELS_MIN = 16_000_000
SIDE_MIN = 32
SIDE_MAX = 8192
ASPECT_MAX = 8
IMAGE_BYTES_MAX = 20 * 1024 * 1024
JPEG_SCANS_MAX = 100
SCANNED_PIXELS_MAX = 1_000_000_000
"""The most pixels times scans."""
SCANS_AS_DEAR_AS_PIXELS = 8
"""So many scans of a pixel cost about as much as everything else that is done with the pixel."""
DEAR_FORMATS = ("AVIF", "HEIF")
"""Formats whose pixels cost about twice as much to decode."""
ALLOCATED_WHEN_OPENED = ("GIF", "WEBP")
"""Formats for which Pillow allocates memory as soon as it has read the size, so that Pillow's own limit is set too."""
TOO_MANY = f"it may have up to {PIXELS_MAX // 1_000_000} megapixels"
DIGEST_ROWS = 64
TAILS = (b"\x6b\xb6\x5d\x2e\x94\xd1" * 32 + b"\xff\xd9", b"\x92\x4a\xa5\x19\x68\x36" * 32 + b"\xff\xd9")
"""Two ends for a JPEG whose end is missing: with each of them, missing pixels are decoded to something else."""
REFUSED_EXIT = 3
START_BYTES_MAX = 64


def main(talk: socket.socket, files: Sequence[int], arguments: Sequence[str]) -> int:
    """Decode the image in the first file into a PNG in the second one. Limits this process for good.

    `arguments` are `data:` for a file that holds a URI, or nothing, and the `cover_px` of `shrink`. Say the cost in
    pixels, wait for a line, decode, and return the exit code: 0, or `REFUSED_EXIT` after a sentence. If the socket
    ends without a line, end too.
    """
    limit_this_process(cpu_s=CPU_S_MAX, memory_bytes=MEMORY_BYTES_MAX, file_bytes=PNG_BYTES_MAX)
    (picture, png), (kind, cover_px) = files, arguments
    try:
        with os.fdopen(png, "wb") as file:
            data = read(picture, is_inline=kind == INLINE)
            write_normalised_png(data, file, lambda pixels: _wait_for_start(talk, pixels), cover_px=int(cover_px))
    except Refused as refusal:
        talk.sendall(str(refusal).encode())
        return REFUSED_EXIT
    except MemoryError:
        talk.sendall(b"it needs too much memory to decode")
        return REFUSED_EXIT
    return 0


def read(descriptor: int, *, is_inline: bool) -> bytes:
    """Return the bytes of an image from a file of them or, if `is_inline`, of their `data:` URI. Raises `Refused`."""
    data = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    try:
        data = decode_data_uri(data) if is_inline else data
    except BadDataUri as error:
        raise Refused(str(error)) from error
    if len(data) > IMAGE_BYTES_MAX:
        raise Refused(f"it is larger than {IMAGE_BYTES_MAX // 1024**2} MB")
    return data


def _wait_for_start(talk: socket.socket, pixels: int) -> None:
    """Say the cost of decoding in pixels, and wait for a line. If none comes, end the process."""
    talk.sendall(b"%d\n" % pixels)
    if not talk.recv(START_BYTES_MAX):
        os._exit(0)  # the edge has given the image up


def write_normalised_png(
    data: bytes, png: BinaryIO, may_begin: Callable[[int], None], *, cover_px: int = shrink.COVER_PX_MIN
) -> None:
    """Write the one image in these bytes as a PNG in 8-bit sRGB: upright, opaque, without metadata.

    `may_begin` gets the cost in pixels before one is decoded. An image far larger than videos of sides up to `cover_px`
    need is shrunk. Sets Pillow's limits for good. Raises `Refused`.
    """
    warnings.simplefilter("ignore")  # the checks here judge what Pillow warns of
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        essence = kinds.essence_of(data)
        del data
        may_begin(check_and_estimate_cost(essence))
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        Image.MAX_IMAGE_PIXELS = PIXELS_MAX
        picture = decoded(essence)
        orientation = _orientation_of(picture, essence)
        picture = colour.srgb(picture, essence.profile or _profile_in(picture), essence.greys)
        plain_png.write(colour.upright(shrink.shrunk(picture, cover_px), orientation), png)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        pixels = re.search(r"\d+", str(error))
        raise Refused(f"it has {_megapixels(int(pixels[0]) if pixels else 0)}; {TOO_MANY}") from error
    except (Refused, MemoryError):
        raise
    except Exception as error:  # Pillow raises nearly anything on damaged data
        raise Refused(DAMAGED) from error


def opened(essence: Essence) -> Image.Image:
    """Return the image with its pixels not read yet. Only the decoder of the format that was found is reachable."""
    if essence.format == "AVIF":
        from PIL import AvifImagePlugin  # noqa: PLC0415  # few images need this import

        AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    if essence.format == "HEIF":
        import pillow_heif  # noqa: PLC0415  # an extra

        pillow_heif.options.DECODE_THREADS = 1
        pillow_heif.register_heif_opener(thumbnails=False)
    return Image.open(io.BytesIO(essence.data), formats=(essence.format,))


def check_and_estimate_cost(essence: Essence) -> int:
    """Check an image's size, scans and frames, and return the cost of decoding it, in pixels.

    Sets Pillow's limit of pixels, which is the whole process's. Raises `Refused`, or Pillow's own errors.
    """
    Image.MAX_IMAGE_PIXELS = PIXELS_MAX if essence.format in ALLOCATED_WHEN_OPENED else None
    picture = opened(essence)
    width, height = picture.size
    seen = f"it is {width}×{height} pixels"
    if not (SIDE_MIN <= width <= SIDE_MAX and SIDE_MIN <= height <= SIDE_MAX):
        raise Refused(f"{seen}; sides may be {SIDE_MIN} to {SIDE_MAX}")
    if width * height > PIXELS_MAX:
        raise Refused(f"{seen}, {_megapixels(width * height)}; {TOO_MANY}")
    if max(width, height) > ASPECT_MAX * min(width, height):
        raise Refused(f"{seen}; one side may be at most {ASPECT_MAX} times the other")
    passes_max = min(JPEG_SCANS_MAX, SCANNED_PIXELS_MAX // (width * height))
    if essence.passes > passes_max:
        raise Refused(f"it has {essence.passes} scans; at its size it may have {passes_max}")
    if essence.format == "AVIF" and getattr(picture, "n_frames", 1) > 1:
        raise Refused("this is an animated AVIF")
    picture.verify()
    cost = 1 + essence.passes // SCANS_AS_DEAR_AS_PIXELS
    return width * height * cost * (2 if essence.is_open_ended or essence.format in DEAR_FORMATS else 1)


def _megapixels(pixels: int) -> str:
    """Return a number of pixels in words, rounded up, so that an image over the limit never seems to be within."""
    return f"{math.ceil(pixels / 10_000) / 100:.2f} megapixels"


def decoded(essence: Essence) -> Image.Image:
    """Return the image with its pixels. Raises `Refused` if pixels are missing at its end, or Pillow's own errors."""
    if not essence.is_open_ended:
        return _loaded(essence)
    first, second = (essence._replace(data=essence.data + tail) for tail in TAILS)
    digest = _digest(_loaded(first))
    picture = _loaded(second)
    if _digest(picture) != digest:
        raise Refused(DAMAGED)
    return picture


def _loaded(essence: Essence) -> Image.Image:
    """Return the image with its pixels read."""
    picture = opened(essence)
    picture.load()
    return picture


def _orientation_of(picture: Image.Image, essence: Essence) -> int:
    """Return the EXIF orientation of the decoded image. Pillow puts that of an AVIF into an EXIF block of its own."""
    return exif.orientation(picture.info.get("exif", b"")) if essence.format == "AVIF" else essence.orientation


def _profile_in(picture: Image.Image) -> bytes | None:
    """Return the ICC profile that Pillow has found, if it is not too large."""
    profile = picture.info.get("icc_profile")
    return profile if isinstance(profile, bytes) and len(profile) <= PROFILE_BYTES_MAX else None


def _digest(picture: Image.Image) -> bytes:
    """Return the SHA-256 of the pixels, read in strips to save memory."""
    digest = hashlib.sha256()
    for top in range(0, picture.height, DIGEST_ROWS):
        digest.update(picture.crop((0, top, picture.width, min(top + DIGEST_ROWS, picture.height))).tobytes())
    return digest.digest()
