"""What only a trained model can do: move as asked, from the picture given, as the seed says."""

from collections.abc import Generator
from random import Random

import msgspec
import pytest
import torch

from inference.pocket import POCKET_FOLDER
from inference.pocket.data.motions import PANS, Kind, Motion
from inference.pocket.data.prompts import prompt
from inference.pocket.evaluation.evaluate import JOB, Case, centre_crop, drawings, evaluate_case
from inference.pocket.evaluation.showcase import COLUMNS, FRAME_PX, sheet
from inference.wan.generate import generate
from inference.wan.load import Wan, load

ZOOMS_AND_TURNS: tuple[Kind, ...] = ("in", "out", "clockwise")
FIRST_FRAME_DB_MIN = 24.0
DRIFT_PX_MAX = 0.25
SMALL, FRAMES, STEPS = (128, 80), 9, 8
"""Half as wide as the evaluation's videos, and fewer steps: no easier for the model, and much quicker."""
SHORT = msgspec.structs.replace(JOB, num_frames=FRAMES, infer_steps=STEPS)


@pytest.fixture(scope="module")
def wan() -> Generator[Wan]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield load(POCKET_FOLDER, torch.device("cpu"))
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def cases(wan: Wan) -> list[Case]:
    rng = Random(3)
    asked = [Motion(kind) for kind in ("still", *PANS, *ZOOMS_AND_TURNS)]
    return [
        evaluate_case(wan, drawn, motion, f"a drawing, {prompt(motion, rng)}", size=SMALL, frames=FRAMES, steps=STEPS)
        for drawn, motion in zip(drawings(len(asked)), asked, strict=True)
    ]


@pytest.mark.timeout(600)
def test_a_trained_model_begins_with_the_picture_and_moves_as_asked(cases: list[Case]):
    for made in cases:
        assert made.first_frame_db > FIRST_FRAME_DB_MIN, made
        if made.motion.kind == "still":
            assert made.drift_px < DRIFT_PX_MAX, made
    pans = [made.seen == made.motion.kind for made in cases if made.motion.kind in PANS]
    assert sum(pans) >= len(pans) - 1
    others = [made.seen == made.motion.kind for made in cases if made.motion.kind in ZOOMS_AND_TURNS]
    assert sum(others) >= len(others) - 1


def test_a_seed_means_one_video_and_another_seed_another(wan: Wan):
    picture = centre_crop(drawings(1)[0], SMALL)

    def video(seed: int) -> torch.Tensor:
        job = msgspec.structs.replace(SHORT, prompt="the camera pans left", seed=seed)
        return generate(wan, job, picture, lambda _stage, _step: None)

    one = video(1)
    assert torch.equal(one, video(1))
    assert (one - video(2))[:, 1:].abs().mean() > 0.003


def test_a_showcase_has_a_row_for_every_prompt(wan: Wan):
    small = msgspec.structs.replace(SHORT, num_frames=5)
    shown = sheet(wan, centre_crop(drawings(1)[0], SMALL), ("hold still", "rotate clockwise"), small)
    assert shown.size == (COLUMNS * FRAME_PX[0], 2 * 115)
    assert shown.getcolors(maxcolors=1000) is None  # pictures, not a blank sheet
