"""The pictures of a video: what they show, and that a video without them is a video all the same."""

import errno
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from contracts.broker import Unavailable
from contracts.events import JobSucceeded
from contracts.job import input_name, video_name
from contracts.record import record_name
from contracts.video_files import VARIANTS, Variant, names_with_video, picture_name, picture_names
from inference.leader import pictures
from inference.leader.mp4 import write_mp4
from inference.leader.pictures import (
    SPRITE_SIDE_MAX,
    SPRITES,
    SPRITES_ACROSS,
    SPRITES_DOWN,
    THUMBNAIL_SIDE_MAX,
    pictures_of_mp4,
    pictures_of_tensor,
)
from inference.ranks.commands import Run
from inference.ranks.worker import Outcome
from tests.inference.leader.scripted import RankZero
from tests.kit.builders import ID, cancelled

FRAMES, HEIGHT, WIDTH = 25, 144, 256
STRIPED = 19


def video(height: int = HEIGHT, width: int = WIDTH) -> torch.Tensor:
    """Return a video that turns from black to white, with stripes in frame `STRIPED` alone."""
    frames = torch.linspace(-1, 1, FRAMES)[None, :, None, None].expand(3, FRAMES, height, width).clone()
    frames[:, STRIPED, :, ::16] *= -1
    return frames


def opened(content: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(content))
    assert picture.format == "WEBP"
    return picture.convert("RGB")


def brightness(picture: Image.Image) -> float:
    return float(np.asarray(picture).mean())


def check_sheet(sheet: Image.Image) -> None:
    width, height = sheet.width // SPRITES_ACROSS, sheet.height // SPRITES_DOWN
    assert (width, height) == (SPRITE_SIDE_MAX, SPRITE_SIDE_MAX * HEIGHT // WIDTH)
    sprites = [
        sheet.crop((column * width, row * height, (column + 1) * width, (row + 1) * height))
        for row in range(SPRITES_DOWN)
        for column in range(SPRITES_ACROSS)
    ]
    shades = [brightness(sprite) for sprite in sprites]
    assert len(shades) == SPRITES
    assert shades == sorted(shades), "from the first frame to the last, row by row"
    assert (shades[0], shades[-1]) == (pytest.approx(0, abs=4), pytest.approx(255, abs=4))


def test_the_spritesheet_shows_the_video_from_its_first_frame_to_its_last() -> None:
    smooth = video()
    smooth[:, STRIPED, :, ::16] *= -1
    check_sheet(opened(pictures_of_tensor(smooth)["spritesheet"]))


def test_the_thumbnail_is_the_frame_with_the_most_to_see_and_no_larger_than_it_may_be() -> None:
    thumbnail = opened(pictures_of_tensor(video(HEIGHT * 4, WIDTH * 4))["thumbnail"])
    assert thumbnail.size == (THUMBNAIL_SIDE_MAX, THUMBNAIL_SIDE_MAX * HEIGHT // WIDTH)
    assert np.asarray(thumbnail).std() > 10, "the frame with stripes"
    assert opened(pictures_of_tensor(video())["thumbnail"]).size == (WIDTH, HEIGHT), "a small one is not enlarged"


def test_the_pictures_of_a_file_are_those_of_its_video(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    write_mp4(video(), path, lambda _frame: None)
    found, expected = pictures_of_mp4(path), pictures_of_tensor(video())
    for variant in VARIANTS:
        ours, theirs = (np.asarray(opened(each[variant]), dtype=float) for each in (found, expected))
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).mean() < 6


async def names_of_success(rank_zero: RankZero) -> set[str]:
    ended = await rank_zero.log.ending(ID)
    assert isinstance(ended, JobSucceeded)
    return {video_name(ID), record_name(ended), input_name(ID)}


async def test_a_succeeded_job_has_its_pictures_before_its_ending(
    rank_zero: RankZero, monkeypatch: pytest.MonkeyPatch
) -> None:
    there: list[set[str]] = []
    publish_ending = rank_zero.context.completer.publish_ending

    async def look(*given: Any) -> Any:
        there.append(await rank_zero.names())
        return await publish_ending(*given)

    monkeypatch.setattr(rank_zero.context.completer, "publish_ending", look)
    await rank_zero.run_next()
    assert set(picture_names(ID)) <= there[0]


@pytest.mark.parametrize("error", [MemoryError(), ValueError("no picture"), RuntimeError("of torch's")])
async def test_a_job_whose_pictures_cannot_be_made_succeeds(
    rank_zero: RankZero, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(_video: torch.Tensor) -> dict[Variant, bytes]:
        raise error

    monkeypatch.setattr(pictures, "pictures_of_tensor", fail)
    await rank_zero.run_next()
    assert await rank_zero.names() == await names_of_success(rank_zero)


async def test_a_job_whose_pictures_find_no_room_succeeds(rank_zero: RankZero, monkeypatch: pytest.MonkeyPatch) -> None:
    write = rank_zero.videos.write

    async def full(name: str, data: bytes) -> bool:
        if name in picture_names(ID):
            raise OSError(errno.ENOSPC, "full")
        return await write(name, data)

    monkeypatch.setattr(rank_zero.videos, "write", full)
    await rank_zero.run_next()
    assert await rank_zero.names() == await names_of_success(rank_zero)


async def test_an_adopted_video_gets_the_pictures_that_it_lacks(
    rank_zero: RankZero, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(pictures, "pictures_of_tensor", lambda _video: {})  # pyright: ignore[reportUnknownLambdaType]
        patched.setattr(rank_zero.context.completer, "succeed", hand_back)
        await rank_zero.run_next()
    assert not set(picture_names(ID)) & await rank_zero.names()
    await rank_zero.run_next(never)
    assert set(picture_names(ID)) <= await rank_zero.names()


async def test_an_adopted_video_keeps_the_pictures_that_it_has(
    rank_zero: RankZero, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(rank_zero.context.completer, "succeed", hand_back)
        await rank_zero.run_next()
    before = [(await rank_zero.videos.facts(name)).etag for name in picture_names(ID)]
    await rank_zero.run_next(never)
    assert [(await rank_zero.videos.facts(name)).etag for name in picture_names(ID)] == before


async def test_pictures_that_an_earlier_video_has_left_make_way(rank_zero: RankZero) -> None:
    await rank_zero.videos.write(picture_name(ID, "thumbnail"), b"of another video")
    await rank_zero.run_next()
    assert (await rank_zero.videos.read(picture_name(ID, "thumbnail")) or b"")[8:12] == b"WEBP"


async def test_a_job_that_was_cancelled_keeps_no_picture(rank_zero: RankZero, monkeypatch: pytest.MonkeyPatch) -> None:
    put = rank_zero.context.videos.put_pictures

    async def cancel_first(*given: Any, **how: Any) -> None:
        await put(*given, **how)
        assert set(picture_names(ID)) <= await rank_zero.names()
        await rank_zero.log.publish_ending(cancelled(1.0))

    monkeypatch.setattr(rank_zero.context.videos, "put_pictures", cancel_first)
    await rank_zero.run_next()
    assert not await rank_zero.names() & set(names_with_video(ID))


async def hand_back(attempt: Any) -> None:
    """Lose the attempt right before its ending."""
    await attempt.hand_back()
    raise Unavailable("the broker is away")


def never(_bridge: Any, _run: Run) -> Outcome:
    raise AssertionError("the ranks were asked")
