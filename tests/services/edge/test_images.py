import asyncio
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from services.edge.images import ImageRefused, Normaliser
from tests.conftest import eventually
from tests.services.edge.corpus import HOSTILE, Case, cases


def encoded(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


async def normalised(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(await Normaliser().normalise(data)))
    picture.load()
    assert (picture.format, picture.mode, picture.info) == ("PNG", "RGB", {})
    return picture


def children() -> set[str]:
    processes = [entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return {pid for pid in processes if _parent(pid) == os.getpid()}


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
        assert b"planted" not in await Normaliser().normalise(data)


@pytest.mark.parametrize(
    ("size", "why"),
    [
        ((31, 64), "31×64 pixels; sides may be 32 to 8192"),
        ((8193, 64), "8193"),
        ((64, 513), "at most 8 times"),
        ((8000, 5001), "40 megapixels"),
    ],
)
async def test_a_wrong_size_is_named_with_its_limit(size: tuple[int, int], why: str) -> None:
    with pytest.raises(ImageRefused, match=why):
        await Normaliser().normalise(encoded(Image.new("1", size)))


async def test_a_jpeg_of_very_many_scans_is_refused_unseen() -> None:
    data = encoded(Image.new("RGB", (64, 64)), "JPEG", progressive=True)
    with pytest.raises(ImageRefused, match="scans"):
        await Normaliser().normalise(data + b"\xff\xda" * 100)


async def test_a_decoder_that_takes_too_long_is_killed() -> None:
    before = children()
    with pytest.raises(ImageRefused, match="too long"):
        await Normaliser(within_s=0.01).normalise(encoded(Image.new("RGB", (6000, 6000))))
    assert children() == before


async def test_a_cancelled_caller_leaves_no_child() -> None:
    before = children()
    task = asyncio.create_task(Normaliser().normalise(encoded(Image.effect_noise((3000, 3000), 50))))
    await eventually(lambda: children() - before)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert children() == before


async def test_two_are_decoded_at_once_and_the_others_wait() -> None:
    before = children()
    normaliser = Normaliser()
    picture = encoded(Image.effect_noise((800, 800), 50).convert("RGB"))
    most = 0
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(normaliser.normalise(picture)) for _ in range(6)]
        while not all(task.done() for task in running):
            most = max(most, len(children() - before))
            await asyncio.sleep(0)
    assert most <= 2
