"""Pictures seen along a motion, and the judge that tells the motion from the pixels."""

import numpy as np
import pytest
import torch

from inference.pocket.data.motions import KINDS, MOTIONS, Kind, Motion, clip
from inference.pocket.data.pictures import picture
from inference.pocket.evaluation.metrics import drift_px, recognise_motion

PICTURE = torch.from_numpy(picture(5, 192, 128))
SIZE = (96, 64)


def test_the_first_frame_is_the_middle_of_the_picture_whatever_the_motion():
    middle = PICTURE[32:96, 48:144].permute(2, 0, 1) / 127.5 - 1
    for motion in MOTIONS:
        assert torch.allclose(clip(PICTURE, motion, 1, SIZE)[:, 0], middle, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "rows", "columns"),
    [("left", (0, 0), (0, 8)), ("right", (0, 0), (8, 0)), ("up", (0, 8), (0, 0)), ("down", (8, 0), (0, 0))],
)
def test_what_is_seen_slides_against_the_way_that_the_camera_turns(
    kind: Kind, rows: tuple[int, int], columns: tuple[int, int]
):
    video = clip(PICTURE, Motion(kind, "normal"), 5, SIZE)
    (top, top_later), (left, left_later) = rows, columns
    height, width = 64 - max(rows), 96 - max(columns)
    before = video[:, 0, top : top + height, left : left + width]
    after = video[:, 4, top_later : top_later + height, left_later : left_later + width]
    assert torch.allclose(before, after, atol=1e-3)


def test_a_point_right_of_the_middle_goes_down_when_the_picture_turns_clockwise():
    dot = np.zeros((65, 97, 3), np.uint8)
    dot[32, 80] = 255
    last = clip(torch.from_numpy(dot), Motion("clockwise", "fast"), 9, (97, 65))[0, -1]
    row, column = divmod(int(last.argmax()), 97)
    assert (row, column) == (32 + 8, 48 + 31)


def test_a_point_goes_outwards_when_the_camera_zooms_in():
    dot = np.zeros((65, 97, 3), np.uint8)
    dot[32, 58] = 255
    last = clip(torch.from_numpy(dot), Motion("in", "fast"), 9, (97, 65))[0, -1]
    assert divmod(int(last.argmax()), 97) == (32, 48 + 13)


@pytest.mark.parametrize("kind", KINDS)
def test_the_judge_recognises_every_motion(kind: Kind):
    assert recognise_motion(clip(PICTURE, Motion(kind), 13, SIZE), PICTURE, "normal") == kind


def test_the_judge_measures_how_far_a_picture_drifts():
    assert drift_px(clip(PICTURE, Motion("still"), 9, SIZE)) < 0.05
    assert drift_px(clip(PICTURE, Motion("right"), 9, SIZE)) == pytest.approx(2, abs=0.1)
    assert drift_px(clip(PICTURE, Motion("up", "slow"), 9, SIZE)) == pytest.approx(1, abs=0.1)
