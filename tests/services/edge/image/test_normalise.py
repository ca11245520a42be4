import asyncio
import base64
import io
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from services.edge.errors import ImageRefused, Overloaded
from services.edge.image.data_uri import DATA_URI_CHARS_MAX
from services.edge.image.decode import IMAGE_BYTES_MAX
from services.edge.image.normalise import CHILDREN_MAX, LARGE_BYTES_MIN
from services.edge.resources.spool import Disk, Spool
from tests.kit.waiting import eventually
from tests.services.edge import dear
from tests.services.edge.corpus import HOSTILE, Case, cases
from tests.services.edge.spooled import lowest_free_descriptor, normalise, normaliser


def encoded(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


async def normalised(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(await normalise(data)))
    picture.load()
    assert (picture.format, picture.mode, picture.info) == ("PNG", "RGB", {})
    return picture


def children() -> set[str]:
    """The children of the fork servers that this process has started."""
    parents = {entry.name: _parent(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    return {pid for pid, parent in parents.items() if parents.get(str(parent)) == os.getpid()}


def _parent(pid: str) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


@pytest.mark.parametrize("case", cases("image"), ids=lambda case: case.name)
async def test_an_image_of_the_corpus_gets_its_verdict(case: Case) -> None:
    assert case.file is not None
    try:
        await normalised((HOSTILE / case.file).read_bytes())
        verdict = "accept"
    except ImageRefused:
        verdict = "reject"
    assert case.expect in ("either", verdict)


async def test_a_picture_is_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    sideways = Image.new("RGB", (64, 32), "red")
    assert (await normalised(encoded(sideways, "JPEG", exif=exif))).size == (32, 64)


async def test_transparency_lies_on_white() -> None:
    assert (await normalised(encoded(Image.new("RGBA", (32, 32), (255, 0, 0, 0))))).getpixel((5, 5)) == (255, 255, 255)
    palette = Image.new("P", (32, 32), 1)
    palette.putpalette([0, 0, 0, 9, 9, 9])
    assert (await normalised(encoded(palette, transparency=1))).getpixel((5, 5)) == (255, 255, 255)


async def test_16_bit_greys_are_scaled_and_not_clipped() -> None:
    grey = Image.fromarray(np.full((32, 32), 32768, dtype=np.uint16))
    assert (await normalised(encoded(grey))).getpixel((5, 5)) == (127, 127, 127)


async def test_cmyk_keeps_its_colours() -> None:
    red = Image.new("CMYK", (32, 32), (0, 255, 255, 0))
    pixel = (await normalised(encoded(red, "JPEG", quality=100))).getpixel((5, 5))
    assert isinstance(pixel, tuple)
    assert pixel[0] > 250 and max(pixel[1:]) < 5


async def test_no_metadata_survives() -> None:
    words = PngInfo()
    words.add_text("Comment", "planted")
    exif = Image.Exif()
    exif[0x010E] = "planted"
    picture = Image.new("RGB", (32, 32))
    for data in (encoded(picture, pnginfo=words, exif=exif), encoded(picture, "JPEG", exif=exif, comment=b"planted")):
        assert b"planted" in data
        assert b"planted" not in await normalise(data)


@pytest.mark.parametrize(
    ("size", "why"),
    [
        ((31, 64), "31×64 pixels; sides may be 32 to 8192"),
        ((8193, 64), "8193"),
        ((64, 513), "at most 8 times"),
        ((8000, 6251), "8000×6251 pixels, 50.01 megapixels; it may have up to 50 megapixels"),
        ((8160, 6144), "8160×6144 pixels, 50.14 megapixels; it may have up to 50 megapixels"),
        ((20000, 12000), "20000×12000 pixels; sides may be 32 to 8192"),
    ],
)
async def test_a_wrong_size_is_named_with_its_limit(size: tuple[int, int], why: str) -> None:
    with pytest.raises(ImageRefused, match=why):
        await normalise(encoded(Image.new("1", size)))


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
async def test_a_picture_of_far_too_many_pixels_is_refused_with_its_own_number(kind: str) -> None:
    picture = encoded(Image.new("L", (12_000, 9_000)), kind)
    with pytest.raises(ImageRefused, match=r"108\.00 megapixels; it may have up to 50 megapixels"):
        await normalise(picture)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (dear.many_scans, "100 scans; at its size it may have 20"),
        (dear.many_segments, "4096 segments"),
        (dear.filled_jpeg, "64 kB of filling"),
        (dear.junk_jpeg, "64 kB of filling"),
        (dear.many_chunks, "65536 chunks"),
        (dear.many_webp_chunks, "1024 chunks"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_a_cheap_file_that_is_dear_to_decode_is_refused_unseen(data: Callable[[], bytes], why: str) -> None:
    with pytest.raises(ImageRefused, match=why):
        await normalise(data())


async def test_what_a_phone_appends_to_a_jpeg_is_not_looked_at() -> None:
    data = encoded(Image.new("RGB", (64, 64)), "JPEG", progressive=True)
    await normalised(data + b"\xff\xda" * 200 + b"\xff" * 100_000)


async def test_a_data_uri_is_decoded_by_the_child_and_says_what_is_wrong() -> None:
    uri = b"data:image/png;base64," + base64.b64encode(encoded(Image.new("RGB", (64, 64))))
    assert (await normalise(uri, is_inline=True)).startswith(b"\x89PNG")
    for wrong, why in (
        (b"data:image/png;base64" + uri[22:], "must begin with"),
        (uri + b"!", "base64 is damaged"),
        (b"data:image/png," + uri, "this is a text"),
        (b"data:image/png;base64," + base64.b64encode(bytes(IMAGE_BYTES_MAX + 3)), "larger than 20 MB"),
        (uri + b"A" * DATA_URI_CHARS_MAX, "may have 28 MB"),
    ):
        with pytest.raises(ImageRefused, match=why):
            await normalise(wrong, is_inline=True)


def large() -> bytes:
    return encoded(Image.new("RGB", (6000, 6000)))


async def test_a_decoder_that_misses_its_deadline_is_a_busy_machine_and_is_killed() -> None:
    before = children()
    with pytest.raises(Overloaded):
        async with normaliser(within_s=0.01) as hasty:
            await normalise(large(), by=hasty)
    assert children() == before


async def decoder_of(picture: bytes, number: int) -> None:
    """Decode a picture, and send the decoder a signal as soon as it is there."""
    before = children()
    task = asyncio.create_task(normalise(picture))
    (pid,) = await eventually(lambda: children() - before)
    os.kill(int(pid), number)
    await task


async def test_a_decoder_that_the_kernel_killed_for_memory_says_nothing_against_the_picture() -> None:
    with pytest.raises(Overloaded):
        await decoder_of(large(), signal.SIGKILL)


async def test_a_picture_that_uses_up_its_cpu_time_is_refused() -> None:
    with pytest.raises(ImageRefused, match="15 s of computing"):
        await decoder_of(large(), signal.SIGXCPU)


async def test_a_decoder_that_breaks_on_a_picture_refuses_it() -> None:
    with pytest.raises(ImageRefused, match="cannot be decoded"):
        await decoder_of(large(), signal.SIGSEGV)


async def test_where_no_decoder_can_be_started_nothing_is_said_against_the_picture() -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)
    data = large()
    async with normaliser() as by_this:
        with Spool(Disk()) as picture, Spool(Disk()) as png:
            await picture.add(data)
            await picture.file()
            await png.file()
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free_descriptor(), most[1]))
            try:
                with pytest.raises(Overloaded):
                    await by_this.normalise(picture, png, is_inline=False)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, most)


LARGEST: dict[str, dict[str, Any]] = {
    "JPEG": {},
    "PNG": {},
    "WEBP": {"lossless": True, "quality": 0, "method": 0},
    "AVIF": {"speed": 10},
    "TIFF": {"compression": "tiff_adobe_deflate"},
}


@pytest.mark.parametrize("kind", LARGEST)
async def test_the_largest_pictures_fit_the_childs_memory(kind: str) -> None:
    mode = "L" if kind == "JPEG" else "RGBA"
    await normalised(encoded(Image.new(mode, dear.SIDES), kind, **LARGEST[kind]))


async def test_dear_pictures_keep_no_cheap_one_out() -> None:
    """Decode one costly picture while some wait and the others are refused: a cheap one still gets through."""
    async with normaliser() as shared:
        dears = [asyncio.create_task(normalise(dear.tiny_webp(), by=shared)) for _ in range(CHILDREN_MAX + 2)]
        await asyncio.wait(dears, return_when=asyncio.FIRST_COMPLETED)
        await normalise(encoded(Image.new("RGB", (64, 64))), by=shared)
        assert not all(task.done() for task in dears)
        ends = await asyncio.gather(*dears, return_exceptions=True)
        assert {type(end) for end in ends} == {bytes, Overloaded}


async def test_a_cancelled_caller_leaves_no_child() -> None:
    before = children()
    task = asyncio.create_task(normalise(encoded(Image.effect_noise((3000, 3000), 50))))
    await eventually(lambda: children() - before)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert children() == before


async def test_a_row_of_large_files_keeps_no_small_one_out() -> None:
    async with normaliser() as shared:
        large_file = encoded(Image.effect_noise((1200, 1200), 50))
        assert len(large_file) > LARGE_BYTES_MIN
        row = [asyncio.create_task(normalise(large_file, by=shared)) for _ in range(3 * CHILDREN_MAX)]
        await asyncio.wait(row, return_when=asyncio.FIRST_COMPLETED)
        await normalise(encoded(Image.new("RGB", (64, 64))), by=shared)
        assert sum(task.done() for task in row) < 2 * CHILDREN_MAX
        await asyncio.gather(*row)


async def test_few_decoders_exist_at_once_and_the_others_wait() -> None:
    before = children()
    async with normaliser() as shared:
        picture = encoded(Image.effect_noise((300, 300), 50).convert("RGB"))
        most = 0
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(normalise(picture, by=shared)) for _ in range(3 * CHILDREN_MAX)]
            while not all(task.done() for task in running):
                most = max(most, len(children() - before))
                await asyncio.sleep(0)
        assert 0 < most <= CHILDREN_MAX
