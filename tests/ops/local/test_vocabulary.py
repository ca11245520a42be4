from random import Random

import pytest

from inference.pocket.data import prompts
from inference.pocket.data.motions import MOTIONS
from inference.pocket.evaluation.showcase import PROMPTS
from ops.local.sample_image import PROMPT
from ops.local.vocabulary import asks_for_motion

PROMPTS_A_MOTION = 400


def test_whatever_the_pocket_model_learned_to_move_by_asks_for_motion() -> None:
    rng = Random(5)
    asked = [prompts.prompt(motion, rng) for motion in MOTIONS for _ in range(PROMPTS_A_MOTION)]
    assert [prompt for prompt in asked if not asks_for_motion(prompt)] == []


def test_what_it_learned_to_be_no_request_for_motion_is_none() -> None:
    rng = Random(5)
    made = (prompts.prompt_without_motion(rng) for _ in range(2000))
    assert [prompt for prompt in made if asks_for_motion(prompt)] == []


@pytest.mark.parametrize("prompt", [*PROMPTS, PROMPT, "PAN LEFT", "镜头慢慢推近，画面逐渐放大", "镜头向左缓慢移动"])
def test_words_of_the_vocabulary_are_known(prompt: str) -> None:
    assert asks_for_motion(prompt)


@pytest.mark.parametrize(
    "prompt",
    [
        "steam rises from the cup of coffee",
        "a woman smiles and waves her hand",
        "the camera follows the running dog",
        "a company of dancers, up close",
        "小猫在草地上奔跑",
        "海浪拍打沙滩",
        "カメラがゆっくり左に動く",
        "고양이가 걷는다",
        "ein Boot segelt nach links über das Meer",
    ],
)
def test_words_that_move_nothing_are_told_apart(prompt: str) -> None:
    assert not asks_for_motion(prompt)
