"""What is shrunk is still more than any video needs, and means the same size of a video."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from contracts.job import nearest_size, output_size, parse_size
from services.edge.image.decode import SIDE_MAX
from services.edge.image.picture.shrink import (
    ASPECT_ERROR_MAX,
    COVER_PX_MIN,
    FAR_LARGER,
    KEPT,
    KEPT_MAX,
    shrunk,
    size_kept,
)

SIZES = ["1280*720", "720*1280", "832*480", "480*832"]
NEAR = FAR_LARGER * COVER_PX_MIN
WHOLE_MAX = 0.05
"""The share of large pictures that are kept whole for their aspect."""
LIKENESS_DB_MIN = 40.0


def sizes() -> list[tuple[int, int]]:
    """Sizes of cameras, and others that are random or have awkward factors."""
    draws = np.random.default_rng(1).integers(NEAR, SIDE_MAX, (200, 2)).tolist()
    named = [(4000, 3000), (5472, 3648), (6000, 4000), (8160, 6120), (7680, 4320), (2560, 2560), (8191, 2563)]
    return [(width, height) for width, height in [*named, *draws]]


@pytest.mark.parametrize("size", [(64, 48), (1280, 720), (3840, 2160), (NEAR - 1, NEAR - 1), (SIDE_MAX, NEAR - 1)])
def test_what_is_not_far_larger_than_a_video_is_left_as_it_is(size: tuple[int, int]) -> None:
    assert size_kept(*size, COVER_PX_MIN) == size


def test_a_picture_for_a_model_of_larger_videos_keeps_more() -> None:
    assert size_kept(4000, 3000, 1920) == (4000, 3000)
    assert min(size_kept(8000, 6000, 1920)) >= KEPT * 1920


def test_aspect_and_so_the_size_of_the_video_are_kept() -> None:
    whole = 0
    for width, height in sizes():
        kept_width, kept_height = size_kept(width, height, COVER_PX_MIN)
        if (kept_width, kept_height) == (width, height):
            whole += 1
            continue
        assert KEPT * COVER_PX_MIN <= min(kept_width, kept_height) <= KEPT_MAX * COVER_PX_MIN
        assert abs(kept_width * height / (kept_height * width) - 1) < 1.01 * ASPECT_ERROR_MAX
        assert size_kept(height, width, COVER_PX_MIN) == (kept_height, kept_width)
        assert nearest_size(SIZES, SIZES[0], kept_width, kept_height) == nearest_size(SIZES, SIZES[0], width, height)
        for size in SIZES:
            assert output_size(size, True, kept_width, kept_height) == output_size(size, True, width, height)
    assert whole < WHOLE_MAX * len(sizes())


def test_a_cluster_still_makes_the_picture_smaller() -> None:
    for width, height in sizes():
        kept = size_kept(width, height, COVER_PX_MIN)
        for size in SIZES:
            for keep_aspect in (False, True):
                video = output_size(size, keep_aspect, width, height)
                assert all(side <= of_picture for side, of_picture in zip(video, kept, strict=True))


@pytest.mark.slow
def test_the_first_frame_is_the_same_to_the_eye() -> None:
    rng = np.random.default_rng(1)
    coarse = Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)).resize((4000, 3000))
    grain = rng.integers(-12, 13, (3000, 4000, 3))
    picture = Image.fromarray((np.asarray(coarse).astype(int) + grain).clip(0, 255).astype(np.uint8))
    small = shrunk(picture, COVER_PX_MIN)
    assert small.size == (2560, 1920)
    for size in SIZES:
        frames = [ImageOps.fit(each, parse_size(size), Image.Resampling.BICUBIC) for each in (picture, small)]
        first, second = (np.asarray(frame).astype(float) for frame in frames)
        assert 10 * np.log10(255**2 / ((first - second) ** 2).mean()) > LIKENESS_DB_MIN
