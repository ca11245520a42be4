"""Detect the format of a file by its first bytes (magic numbers), whatever the sender calls it. Pure.

`decode` calls `essence_of`. Seven formats are read, and HEIC by an extra package. Every other known
format is refused by its name.
"""

import re
from collections.abc import Callable
from importlib.util import find_spec

from services.edge.image.picture import bmp, gif, heif, jpeg, png, tiff, webp
from services.edge.image.picture.essence import Essence, Refused

WANTED = "a still PNG, JPEG, WebP, AVIF, GIF, BMP or TIFF is needed"
HEIF_PACKAGE = "pillow_heif"
SNIFFED_BYTES = 1024
BRANDS_MAX = 32

_READ: tuple[tuple[re.Pattern[bytes], Callable[[bytes], Essence]], ...] = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), png.essence),
    (re.compile(rb"\xff\xd8\xff"), jpeg.essence),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), webp.essence),
    (re.compile(rb"GIF8[79]a"), gif.essence),
    (re.compile(rb"II(?!.{6}CR)[*+]\0|MM\0[*+]", re.DOTALL), tiff.essence),
    (re.compile(rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL), bmp.essence),
)
_NAMED: tuple[tuple[str, str], ...] = (
    (r"\s*%PDF-", "a PDF"),
    (r"%!PS|\xc5\xd0\xd3\xc6", "a PostScript file"),
    (r"\xff\x0a|\0\0\0\x0cJXL \r\n", "a JPEG XL picture"),
    (r"\0\0\0\x0cjP  \r\n|\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (r"II\xbc", "a JPEG XR picture"),
    (r"II\*\0....CR|FUJIFILMCCD-RAW|IIU\0|IIR[OS]|MMOR|\0MRM", "a camera's raw file"),
    (r"8BPS", "a Photoshop file"),
    (r"gimp xcf", "a GIMP file"),
    (r"\0\0[\x01\x02]\0[^\0]\0", "an icon (ICO)"),
    (r"icns", "an icon (ICNS)"),
    (r"DDS ", "a DDS texture"),
    (r"\xabKTX ", "a KTX texture"),
    (r"\x76\x2f\x31\x01", "an OpenEXR picture"),
    (r"#\?RADIANCE", "a Radiance HDR picture"),
    (r"qoif", "a QOI picture"),
    (r"P[1-7]\s", "a PBM, PGM or PPM picture"),
    (r"\x0a[\0-\x05]\x01[\x01\x02\x04\x08]", "a PCX picture"),
    (r"BPG\xfb", "a BPG picture"),
    (r"\xd7\xcd\xc6\x9a|\x01\0\0\0.{36} EMF", "a Windows metafile"),
    (r"RIFF....AVI ", "a video (AVI)"),
    (r"\x1a\x45\xdf\xa3", "a video (WebM or Matroska)"),
    (r"FLV\x01", "a video (FLV)"),
    (r"OggS", "an Ogg audio or video file"),
    (r"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a video (WMV)"),
    (r"\0\0\x01[\xba\xb3]|G.{187}G", "a video (MPEG)"),
    (r"RIFF....WAVE|ID3|fLaC|\xff[\xfb\xf3\xf2]", "an audio file"),
    (r"PK\x03\x04", "a ZIP archive, or an office document"),
    (r"\xd0\xcf\x11\xe0", "an office document"),
    (r"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|Rar!|\x28\xb5\x2f\xfd", "an archive"),
    (r"\x7fELF|MZ|\xcf\xfa\xed\xfe", "a program"),
    (r"version https://git-lfs", "a Git LFS pointer in place of the file (fetch it with `git lfs pull`)"),
)
_HIDDEN_PICTURE = re.compile(rb"[\s\xef\xbb\xbf]{1,64}(?=\x89PNG|\xff\xd8\xff|RIFF|GIF8)")
_AS_TEXT = re.compile(
    rb"\x89PNG\n|\x89PNG\r\n\x1a\r\n|\xef\xbf\xbdPNG|\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd|PNG\r?\n\x1a"
)
_MARKUP = re.compile(rb"(?:\xef\xbb\xbf)?\s*<", re.DOTALL)
_HEIC_STILL = frozenset((b"heic", b"heix", b"heim", b"heis", b"mif1", b"mif2", b"heif"))
_HEIC_FILM = frozenset((b"hevc", b"hevx", b"hevm", b"hevs", b"msf1"))


def essence_of(data: bytes) -> Essence:
    """Return the essence of a picture. Raises `Refused`, which names the format of a file that is not read.

    May raise `struct.error` for a damaged file.
    """
    if not data:
        raise Refused(f"it is empty; {WANTED}")
    for pattern, essence in _READ:
        if pattern.match(data):
            return essence(data)
    if data[4:8] == b"ftyp":
        return _boxed(data)
    raise Refused(_refusal(data))


def _boxed(data: bytes) -> Essence:
    """Return the essence of a file of boxes (ISO BMFF): AVIF or HEIC. Raises `Refused`, for films and all others."""
    length = min(int.from_bytes(data[:4]), 16 + 4 * BRANDS_MAX)
    major, brands = data[8:12], {data[at : at + 4] for at in (8, *range(16, length - 3, 4))}
    if major == b"crx ":
        raise Refused(f"this is a camera's raw file; {WANTED}")
    if major == b"avis":
        raise Refused("this is an animated AVIF")
    if b"avif" in brands:
        return heif.essence(data, "AVIF")
    if major in _HEIC_FILM:
        raise Refused("this is a sequence of HEIC pictures")
    if not brands & _HEIC_STILL:
        kind = (
            "a video (QuickTime)" if major == b"qt  " else "an audio file" if major[:3] == b"M4A" else "a video (MP4)"
        )
        raise Refused(f"this is {kind}; {WANTED}")
    if find_spec(HEIF_PACKAGE) is None:
        raise Refused(f"this is a HEIC picture, which only a service with the extra `heif` reads; {WANTED}")
    return heif.essence(data, "HEIF")


def _refusal(data: bytes) -> str:
    """Return the sentence that refuses a file of no format that is read."""
    head = data[:SNIFFED_BYTES]
    if (before := _HIDDEN_PICTURE.match(head)) is not None:
        return f"this is a picture with {before.end()} bytes before it that are no part of it"
    if _AS_TEXT.match(head):
        return "this is a picture that was changed on its way, as if it were text"
    for pattern, name in _NAMED:
        if re.match(pattern.encode("latin-1"), head, re.DOTALL):
            return f"this is {name}; {WANTED}"
    if (name := _text(head)) is not None:
        return f"this is {name}; {WANTED}"
    return f"it is not a picture of a format that is read here; {WANTED}"


def _text(head: bytes) -> str | None:
    """Return the kind of a text in words, by its first `SNIFFED_BYTES`; None if the bytes are no text."""
    lower = head.lower()
    if _MARKUP.match(head):
        if b"<svg" in lower:
            return "an SVG drawing"
        if b"<!doctype html" in lower or b"<html" in lower or b"<head" in lower or b"<body" in lower:
            return "a web page (HTML)"
        return "an XML or HTML text"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "a text"
    if any(byte < 0x20 and byte not in b"\t\n\r\f\x1b" for byte in head):
        return None
    try:
        head[: len(head) - 3 if len(head) == SNIFFED_BYTES else None].decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 8:
            return None
    if lower.lstrip()[:1] in (b"{", b"["):
        return "a text (JSON)"
    return "a text"
