"""Damaged metadata never refuses a picture, missing pixels always do, and a refused format is named."""

import io
import os
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from services.edge.image.picture import kinds
from services.edge.image.picture.essence import Refused
from services.edge.image.picture.exif import orientation
from tests.services.edge.image.picture import made

MIB = 1024**2
TURNED_RIGHT = 6


def noise(size: tuple[int, int] = (160, 120)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def same(data: bytes, other: bytes) -> bool:
    return made.decoded(data).tobytes() == made.decoded(other).tobytes()


def exif_block(*entries: tuple[int, int, int, bytes], orientation: int = TURNED_RIGHT, order: str = ">") -> bytes:
    """An EXIF block with these entries (tag, kind, count, four bytes) before its orientation."""
    own = (0x0112, 3, 1, struct.pack(f"{order}HH", orientation, 0))
    head = (b"MM\0*" if order == ">" else b"II*\0") + struct.pack(f"{order}IH", 8, len(entries) + 1)
    body = b"".join(struct.pack(f"{order}HHI", tag, kind, count) + value for tag, kind, count, value in (*entries, own))
    return b"Exif\0\0" + head + body


FAULTY_EXIF = {
    "a rational without denominator": exif_block((0x011A, 10, 1, struct.pack(">I", 38)))
    + bytes(4)
    + struct.pack(">ii", -1, 0),
    "a text beyond the end": exif_block((0x010E, 2, 2**31, b"\x7f\xff\xff\xff")),
    "an unknown kind": exif_block((0x0100, 99, 1, b"abcd")),
    "a next directory beyond the end": exif_block() + b"\xff\xff\xff\xff",
    "a directory that is its own next": exif_block() + struct.pack(">I", 8),
    "little-endian": exif_block(order="<"),
    "the rest cut off": exif_block((0x0100, 99, 1, b"abcd"))[:-2],
}


@pytest.mark.parametrize("fault", FAULTY_EXIF)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_an_orientation_is_read_whatever_else_the_metadata_holds(kind: str, fault: str) -> None:
    data = made.saved(made.image(), kind, exif=FAULTY_EXIF[fault])
    assert made.decoded(data).size == (64, 96)


@pytest.mark.parametrize(
    "block",
    [b"", b"Exif\0\0", b"Exif\0\0MM", b"MM\0*\xff\xff\xff\xff", exif_block(orientation=9), exif_block(orientation=0),
     b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", os.urandom(300)],
)  # fmt: skip
def test_an_orientation_that_cannot_be_read_is_none(block: bytes) -> None:
    assert orientation(block) == 1
    assert made.decoded(made.saved(made.image(), "JPEG", exif=b"Exif\0\0" + block)).size == (96, 64)


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_every_orientation_is_as_pillow_shows_it(kind: str, value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    options: dict[str, Any] = {"tiffinfo": {0x0112: value}} if kind == "TIFF" else {"exif": exif}
    corners = noise((4, 3)).resize((128, 96), Image.Resampling.NEAREST)
    got = made.decoded(made.saved(corners, kind, **options))
    turned = corners.transpose(Image.Transpose.ROTATE_270) if value == TURNED_RIGHT else None
    assert got.size == ((128, 96) if value < 5 else (96, 128))
    if turned is not None:
        assert np.abs(np.asarray(got).astype(int) - np.asarray(turned)).mean() < 25


def words(kind: str) -> bytes:
    text = PngInfo()
    long = "x" * (3 * MIB)
    match kind:
        case "zTXt":
            text.add_text("workflow", long, zip=True)
        case "iTXt":
            text.add_itxt("workflow", long, zip=True)
        case "plain iTXt":
            text.add_itxt("workflow", long)
        case _:
            text.add_text("workflow", long)
    return made.saved(made.image(), "PNG", pnginfo=text)


@pytest.mark.parametrize("kind", ["tEXt", "zTXt", "iTXt", "plain iTXt"])
def test_text_in_a_png_is_skipped_whatever_its_size(kind: str) -> None:
    assert made.error(words(kind)).max() == 0


@pytest.mark.slow
def test_a_text_that_would_unpack_to_gigabytes_is_not_unpacked() -> None:
    packing = zlib.compressobj(9)
    bomb = b"".join(packing.compress(bytes(64 * MIB)) for _ in range(32)) + packing.flush()
    assert made.error(made.png_with(*[made.chunk(b"zTXt", b"a\0\0" + bomb)] * 4)).max() == 0


@pytest.mark.parametrize("kind", [b"tEXt", b"eXIf", b"pHYs", b"tIME", b"gAMA", b"iCCP", b"teSt", b"bKGD"])
def test_an_ancillary_chunk_may_be_broken_and_its_checksum_wrong(kind: bytes) -> None:
    for body in (b"", b"\0", os.urandom(40)):
        assert made.error(made.png_with(made.chunk(kind, body, crc=1))).max() == 0


def test_a_critical_chunk_with_a_wrong_checksum_is_damage() -> None:
    plain = made.saved(made.image(), "PNG")
    at = plain.index(b"IDAT")
    length = int.from_bytes(plain[at - 4 : at])
    with pytest.raises(Refused, match="damaged"):
        made.decoded(plain[: at + 4 + length] + b"abcd" + plain[at + 8 + length :])


WAYS: list[tuple[str, dict[str, Any]]] = [
    ("JPEG", {}),
    ("JPEG", {"progressive": True}),
    ("JPEG", {"optimize": True}),
    ("JPEG", {"restart_marker_blocks": 4}),
    ("JPEG", {"subsampling": 0}),
    ("PNG", {}),
    ("GIF", {}),
]


@pytest.mark.parametrize(("kind", "options"), WAYS, ids=str)
def test_an_end_may_be_missing_and_pixels_may_not(kind: str, options: dict[str, Any]) -> None:
    data = made.saved(noise(), kind, **options)
    end = {"JPEG": 2, "PNG": 12, "GIF": 1}[kind]
    for cut in range(1, end + 1):
        assert same(data[:-cut], data)
    for cut in (60, 200, len(data) // 2, len(data) - 200):
        with pytest.raises(Refused, match="damaged"):
            made.decoded(data[:-cut])


@pytest.mark.parametrize("colour", ["black", "teal", "white"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}], ids=str)
def test_half_a_jpeg_of_one_colour_is_half_a_jpeg(colour: str, options: dict[str, Any]) -> None:
    data = made.saved(Image.new("RGB", (640, 480), colour), "JPEG", **options)
    assert same(data[:-2], data)
    half = data[: (data.rindex(b"\xff\xda") + 14 + len(data)) // 2]
    if "progressive" in options:  # the last scan only says that there is no more to say
        assert same(half, data)
        return
    with pytest.raises(Refused, match="damaged"):
        made.decoded(half)


def test_a_progressive_jpeg_without_its_last_scan_is_missing_something() -> None:
    data = made.saved(noise(), "JPEG", progressive=True)
    with pytest.raises(Refused, match="damaged"):
        made.decoded(data[: data.rindex(b"\xff\xda")])


@pytest.mark.parametrize(("kind", "options"), [*WAYS, ("WEBP", {}), ("AVIF", {}), ("BMP", {}), ("TIFF", {})], ids=str)
@pytest.mark.parametrize(
    "tail",
    [b"\0", b"PK\3\4" * 100, b"\xff\xda" * 500 + b"\xff" * 100_000, b"\0\0\0\x18ftypmp42" + bytes(5000)],
    ids=["zero", "archive", "markers", "film"],
)
def test_what_stands_behind_a_picture_is_no_part_of_it(kind: str, options: dict[str, Any], tail: bytes) -> None:
    data = made.saved(made.image(), kind, **options)
    assert same(data + tail, data)


def test_a_motion_photo_and_a_jpeg_with_further_pictures_are_their_first_one() -> None:
    plain = made.saved(made.image(), "JPEG")
    second = made.saved(noise(), "JPEG")
    film = np.random.default_rng(2).bytes(9 * MIB)
    assert same(plain + film, plain)
    mpo = made.saved(made.image(), "MPO", save_all=True, append_images=[noise((96, 64))])
    assert made.decoded(mpo).size == (96, 64)
    broken_mpf = b"\xff\xe2" + struct.pack(">H", 2 + 4 + 40) + b"MPF\0" + os.urandom(40)
    thumbnail = b"\xff\xe1" + struct.pack(">H", 2 + len(second[:60_000])) + second[:60_000]
    assert same(plain[:2] + broken_mpf + thumbnail + plain[2:], plain)


def test_a_thumbnail_page_of_a_tiff_is_skipped_and_a_second_page_refused() -> None:
    pages = io.BytesIO()
    made.image().save(pages, "TIFF", save_all=True, append_images=[noise((40, 40))])
    with pytest.raises(Refused, match="a TIFF of several pages"):
        made.decoded(pages.getvalue())
    with_thumbnail = io.BytesIO()
    small = noise((40, 40))
    small.encoderinfo = {"tiffinfo": {254: 1}}  # pyright: ignore[reportAttributeAccessIssue]
    made.image().save(with_thumbnail, "TIFF", save_all=True, append_images=[small])
    assert made.error(with_thumbnail.getvalue()).max() == 0


@pytest.mark.parametrize(
    "options", [{}, {"compression": "tiff_lzw"}, {"compression": "jpeg"}, {"big_tiff": True}], ids=str
)
def test_a_tiff_without_all_its_pixels_is_damaged(options: dict[str, Any]) -> None:
    data = made.saved(noise(), "TIFF", **options)
    made.decoded(data)
    for cut in (1, 20, 400):
        with pytest.raises(Refused, match="damaged"):
            made.decoded(data[:-cut])


def animated(kind: str, **options: Any) -> bytes:
    return made.saved(made.image(), kind, save_all=True, append_images=[noise((96, 64))], **options)


def boxes(brand: bytes, *more: bytes) -> bytes:
    brands = b"".join(more)
    return struct.pack(">I", 16 + len(brands)) + b"ftyp" + brand + bytes(4) + brands + bytes(100)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (animated("GIF"), "this is an animated GIF"),
        (animated("WEBP"), "this is an animated WebP"),
        (animated("PNG"), "this is an animated PNG"),
        (animated("AVIF"), "this is an animated AVIF"),
        (b"%PDF-1.7\n", "a PDF"),
        (b"<?xml version='1.0'?>\n<!-- drawn -->\n<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        (b"\xef\xbb\xbf<svg/>", "an SVG drawing"),
        (b"\n<!DOCTYPE html><title>Sign in</title>", r"a web page \(HTML\)"),
        (b'{"error": "not found"}', r"a text \(JSON\)"),
        ("你好，世界".encode() * 200, "this is a text"),
        (b"iVBORw0KGgoAAAANSUhEUg", "this is a text"),
        (boxes(b"isom", b"mp41"), r"a video \(MP4\)"),
        (boxes(b"qt  "), r"a video \(QuickTime\)"),
        (boxes(b"msf1", b"hevc"), "a sequence of HEIC pictures"),
        (boxes(b"crx "), "a camera's raw file"),
        (b"\x1a\x45\xdf\xa3" + bytes(40), r"a video \(WebM"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(40), "a camera's raw file"),
        (b"\xff\x0a" + bytes(40), "a JPEG XL picture"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 picture"),
        (b"8BPS\0\1", "a Photoshop file"),
        (b"\0\0\1\0\1\0\x10\x10", "an icon"),
        (b"PK\3\4" + bytes(40), "a ZIP archive"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a Git LFS pointer"),
        (b"", "it is empty"),
        (bytes(64), "not a picture of a format"),
        (b"\r\n" + made.saved(made.image(), "PNG"), "2 bytes before it"),
        (made.saved(made.image(), "PNG").replace(b"\r\n", b"\n"), "as if it were text"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_what_is_refused_is_named_by_what_it_is(data: bytes, name: str) -> None:
    with pytest.raises(Refused, match=name):
        made.decoded(data)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_one_frame_alone_is_a_still_picture(kind: str) -> None:
    data = made.saved(made.image(), kind, save_all=True, append_images=[])
    assert made.decoded(data).size == (96, 64)


def test_no_other_decoder_of_pillow_is_reachable() -> None:
    for kind in ("PPM", "ICO", "TGA", "DDS", "PCX", "SGI", "JPEG2000", "PDF", "EPS", "QOI", "IM"):
        with pytest.raises(Refused):
            made.decoded(made.saved(noise((64, 64)), kind))


def heic() -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    exif = Image.Exif()
    exif[0x0112] = TURNED_RIGHT
    file = io.BytesIO()
    pillow_heif.from_pillow(
        made.image(made.in_space(((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)), (0.3127, 0.3290), None))
    ).save(file, quality=100, chroma=444, exif=exif.tobytes(), icc_profile=made.DISPLAY_P3)
    return file.getvalue()


def test_a_heic_picture_is_read_by_the_extra_upright_and_in_its_colours() -> None:
    got = made.decoded(heic())
    assert got.size == (64, 96)
    upright = np.asarray(got.transpose(Image.Transpose.ROTATE_90)).astype(int)
    assert np.abs(upright - made.levels(made.drawing())).reshape(-1, 3).mean(0).max() <= 3


def test_without_the_extra_a_heic_picture_is_refused_and_the_extra_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "find_spec", lambda _: None)
    with pytest.raises(Refused, match="this is a HEIC picture, which only a service with the extra `heif` reads"):
        made.decoded(boxes(b"heic", b"mif1"))


def test_a_small_bmp_of_very_many_runs_and_a_tiff_of_very_many_strips_are_refused_unseen() -> None:
    head = struct.pack("<IiiHHIIiiII", 40, 64, 64, 1, 8, 1, 0, 0, 0, 256, 0) + bytes(1024)
    with pytest.raises(Refused, match="more data than its pixels can need"):
        made.decoded(b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + len(head)) + head + b"\0\2\0\0" * 1_000_000)
    strips = 300_000
    entries = [(256, 3, 1, 64), (257, 3, 1, 64), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    entries += [(273, 4, strips, 200), (277, 3, 1, 1), (278, 3, 1, 1), (279, 4, strips, 200)]
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    with pytest.raises(Refused, match="262144 strips"):
        made.decoded((b"II*\0" + struct.pack("<I", 8) + directory).ljust(200, b"\0") + bytes(4 * strips))
