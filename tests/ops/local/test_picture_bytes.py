import io
import struct
import zlib

import pytest
from PIL import Image

from ops.local import picture_bytes
from ops.local.picture_bytes import TAKEN, Picture, look
from services.edge.image.decode import write_normalised_png
from services.edge.image.picture.essence import Refused


def drawn(width: int = 400, height: int = 300) -> Image.Image:
    return Image.radial_gradient("L").resize((width, height)).convert("RGB")


def saved(kind: str, image: Image.Image | None = None, **options: object) -> bytes:
    data = io.BytesIO()
    (image or drawn()).save(data, kind, **options)
    return data.getvalue()


def chunk(kind: bytes, content: bytes, crc: int | None = None) -> bytes:
    crc = zlib.crc32(kind + content) if crc is None else crc
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)


@pytest.mark.parametrize("kind", TAKEN)
def test_each_kind_that_the_service_takes_is_known_by_its_bytes(kind: str) -> None:
    assert look(saved(kind)) == Picture(f"image/{kind.lower()}", 400, 300)


def test_heic_is_named_where_the_service_cannot_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_bytes, "HEIC_PACKAGE", "no_such_package")
    with pytest.raises(ValueError, match="the picture is a HEIC; it may be PNG, JPEG, WebP, AVIF, GIF, BMP or TIFF"):
        look(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")


def test_heic_is_taken_where_the_service_reads_it() -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    data = saved("HEIF")
    assert (look(data).width, look(data).height) == (400, 300)
    with pytest.raises(ValueError, match="the picture is a HEIC, but damaged"):
        look(data[: len(data) // 2])


@pytest.mark.parametrize("kind", TAKEN)
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_a_picture_that_is_cut_off_is_damaged_and_named_by_its_kind(kind: str, share: float) -> None:
    data = saved(kind)
    with pytest.raises(ValueError, match=rf"the picture is an? {kind}, but damaged"):
        look(data[: max(16, int(len(data) * share))])


def test_a_progressive_jpeg_that_is_cut_off_is_damaged() -> None:
    with pytest.raises(ValueError, match="the picture is a JPEG, but damaged"):
        look(saved("JPEG", progressive=True)[:-300])


@pytest.mark.parametrize("lost_bytes", [1, 2])
def test_a_jpeg_without_its_end_marker_is_whole(lost_bytes: int) -> None:
    for width in range(393, 401):  # the last bytes fall differently
        look(saved("JPEG", drawn(width))[:-lost_bytes])


def test_a_png_without_its_end_chunk_is_whole() -> None:
    look(saved("PNG")[:-12])


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"zTXt", b"workflow\0\0" + zlib.compress(b"{" * 2_000_000)),
        chunk(b"tEXt", b"comment\0boat", crc=0),
        chunk(b"eXIf", b"no exif at all"),
    ],
)
def test_what_does_not_say_how_pixels_look_decides_nothing(extra: bytes) -> None:
    data = saved("PNG")
    assert look(data[:33] + extra + data[33:]) == Picture("image/png", 400, 300)  # after the header's chunk


def test_a_jpeg_with_a_second_picture_in_it_is_a_jpeg() -> None:
    assert look(saved("MPO", save_all=True, append_images=[drawn()])).media_type == "image/jpeg"


@pytest.mark.parametrize("kind", ["GIF", "WebP", "PNG", "AVIF"])
def test_what_has_several_frames_is_named(kind: str) -> None:
    frames = [drawn(), drawn().rotate(90)]
    with pytest.raises(ValueError, match=f"the picture is an animated {kind}"):
        look(saved(kind, frames[0], save_all=True, append_images=frames[1:]))


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"", "empty"),
        (b"\0\0\0\x20ftypisom\0\0\2\0", "an MP4 or MOV film"),
        (b"%PDF-1.7\n", "a PDF"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a git-lfs pointer"),
        (b"PK\3\4" + bytes(60), "a ZIP archive"),
        (b"8BPS\0\1" + bytes(60), "a Photoshop file"),
        (b"no picture", "text"),
        ("kein Bild, наоборот\n".encode(), "text"),
        (b"x" + "наоборот".encode() * 100, "text"),  # a character lies across the end of what is looked at
        (bytes(range(256)), "something else"),
    ],
)
def test_what_is_no_picture_is_named(data: bytes, named: str) -> None:
    with pytest.raises(ValueError, match=f"the picture is {named}"):
        look(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WebP"])
@pytest.mark.parametrize(("width", "height"), [(800, 20), (20, 800), (31, 32), (32, 31), (1, 1), (257, 32), (40, 321)])
def test_sides_that_the_service_refuses_are_refused_in_its_words(kind: str, width: int, height: int) -> None:
    data = saved(kind, drawn(width, height))
    with pytest.raises(Refused) as of_the_service:
        write_normalised_png(data, io.BytesIO(), lambda _pixels: None)
    with pytest.raises(ValueError) as refusal:
        look(data)
    assert str(refusal.value) == f"the picture is not taken: {of_the_service.value}"


@pytest.mark.parametrize(("width", "height"), [(8193, 2000), (2000, 8193), (8000, 6251), (32768, 32768)])
def test_what_is_too_large_is_refused_in_the_words_of_the_service_before_it_is_decoded(width: int, height: int) -> None:
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    with pytest.raises(Refused) as of_the_service:
        write_normalised_png(data, io.BytesIO(), lambda _pixels: None)
    with pytest.raises(ValueError) as refusal:
        look(data)
    assert str(refusal.value) == f"the picture is not taken: {of_the_service.value}"


@pytest.mark.parametrize(("width", "height"), [(32, 32), (256, 32), (32, 256), (8192, 1024)])
def test_sides_at_the_limits_are_taken(width: int, height: int) -> None:
    assert look(saved("PNG", drawn(width, height))) == Picture("image/png", width, height)


def test_a_picture_on_its_side_has_the_size_that_is_seen() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turned by a quarter
    assert look(saved("JPEG", exif=exif)) == Picture("image/jpeg", 300, 400)
