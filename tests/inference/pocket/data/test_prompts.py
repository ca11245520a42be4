"""Ways to ask for a motion, and the tokens that they become."""

import re
from itertools import product
from random import Random

import pytest
from diffusers.pipelines.wan.pipeline_wan_i2v import prompt_clean

from inference.pocket.data.motions import MOTIONS, Motion
from inference.pocket.data.prompt_words import PICTURES, SLIDE_VERBS
from inference.pocket.data.prompts import prompt, prompt_without_motion
from inference.pocket.data.tokenizer import tokenizer
from inference.pocket.training.text_training import tokenize
from inference.wan.encode import DEFAULT_NEGATIVE_PROMPT

MANY = 60


@pytest.mark.parametrize("motion", MOTIONS, ids=lambda motion: f"{motion.kind}-{motion.speed}")
def test_a_motion_is_asked_for_in_many_ways_that_fit_a_request(motion: Motion):
    prompts = {prompt(motion, Random(seed)) for seed in range(MANY)}
    assert len(prompts) > MANY / 3
    assert all(2 <= len(text) <= 500 for text in prompts)
    assert any("\u4e00" <= text[0] <= "\u9fff" for text in prompts)


def test_a_camera_goes_where_it_is_told_and_a_picture_the_other_way():
    texts = [prompt(Motion("left"), Random(seed)).lower() for seed in range(200)]
    turned = [text for text in texts if re.search(r"\bright", text)]
    assert turned
    for text in turned:
        assert any(f"{picture} {verb}" in text for picture, verb in product(PICTURES, SLIDE_VERBS)), text


def test_verbs_are_spelt_as_people_spell_them():
    texts = [prompt(motion, Random(seed)) for motion in MOTIONS for seed in range(MANY)]
    assert any("moving" in text for text in texts)
    assert not [text for text in texts if re.search(r"[^e]eing\b", text)]


def test_a_prompt_is_read_in_training_as_in_a_job():
    """Full-width commas are made plain before UMT5 sees them."""
    words = tokenizer()
    ids, mask = tokenize(words, [DEFAULT_NEGATIVE_PROMPT])
    assert ids[0].tolist() == words(prompt_clean(DEFAULT_NEGATIVE_PROMPT)).input_ids
    assert mask.all()


def test_what_asks_for_no_motion_names_none():
    said = " ".join(prompt_without_motion(Random(seed)).lower() for seed in range(200)).split()
    assert not {"zoom", "pan", "rotate", "left", "right", "fast", "slowly"} & set(said)


def test_the_words_that_matter_are_one_token_each():
    words = tokenizer()
    for word in ("left", "right", "up", "down", "zoom", "clockwise", "slowly", "quickly", "camera", "fast"):
        assert len(words(f" {word}").input_ids) == 2, word  # it and the end
    assert len(words("镜头向左移动").input_ids) <= 5
