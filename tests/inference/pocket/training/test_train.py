"""The whole training at a size of seconds, and what comes out of it."""

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanAttnProcessor

from inference.pocket.data.motions import Motion
from inference.pocket.data.pictures import picture
from inference.pocket.data.tokenizer import tokenizer
from inference.pocket.evaluation.evaluate import Yardstick, centre_crop, drawings, evaluate_case, summary
from inference.pocket.evaluation.metrics import psnr_db
from inference.pocket.training.curve import CURVE, FINISHING, STAGES, Curve, curve, plot
from inference.pocket.training.dit_init import initialise_transformer
from inference.pocket.training.dit_training import ShortTextProcessor, pad_texts
from inference.pocket.training.export import export
from inference.pocket.training.recipe import CPU
from inference.pocket.training.stage import Stage
from inference.pocket.training.text_training import MotionClassifier, text_loss
from inference.wan.checkpoint.open import open_checkpoint
from inference.wan.encode import TEXT_TOKENS
from inference.wan.load import load
from inference.wan.new_components import text_encoder
from inference.wan.new_components import transformer as new_transformer
from inference.wan.pixels import pixel_values
from tests.kit.short_training import SECONDS, SMALL, learn

FIRST_STEPS = 3


def committed() -> Curve:
    return msgspec.json.decode(CURVE.read_bytes(), type=Curve)


def test_every_stage_leaves_its_file_and_a_finished_training_goes_over_nothing_again(state: Path):
    assert set(curve(state)) == set(STAGES)
    before = {file: file.stat().st_mtime_ns for file in state.rglob("*") if file.is_file()}
    _, said = learn(state)
    assert said == []
    assert {file: file.stat().st_mtime_ns for file in state.rglob("*") if file.is_file()} == before


def test_a_state_of_other_data_is_not_gone_on_with(state: Path):
    with pytest.raises(ValueError, match="other data"):
        learn(state, replace(SECONDS, pictures=4))


def test_what_is_trained_is_exported_in_half_precision_and_makes_a_video(state: Path, tmp_path: Path):
    export(tmp_path / "model", state, SECONDS)
    open_checkpoint(tmp_path / "model")
    wan = load(tmp_path / "model", torch.device("cpu"))
    trained, _ = learn(state)
    expected = trained.transformer.proj_out.weight.half().float()
    assert torch.equal(wan.transformer.proj_out.weight, expected)
    assert wan.vae.config["latents_std"] == pytest.approx(trained.vae.config["latents_std"])
    assert wan.card == SMALL.card
    judged = evaluate_case(
        wan, torch.from_numpy(picture(1, 128, 96)), Motion("left"), "the camera pans left", size=(64, 48)
    )
    assert any(line.startswith("pans right: ") for line in summary([judged]))


def test_a_training_can_be_exported_before_it_has_begun(state: Path, tmp_path: Path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "pictures.npy").symlink_to(state / "pictures.npy")
    export(tmp_path / "model", tmp_path / "state", SECONDS)
    open_checkpoint(tmp_path / "model")


def test_short_texts_are_heard_as_whole_ones_are():
    torch.manual_seed(4)
    transformer: Any = new_transformer(SMALL.model)
    texts = [torch.randn(count, SMALL.text_dim) for count in (3, 7)]
    whole = torch.stack([torch.nn.functional.pad(text, (0, 0, 0, TEXT_TOKENS - len(text))) for text in texts])
    given = {
        "hidden_states": torch.randn(2, 36, 2, 4, 6),
        "timestep": torch.tensor([900.0, 300.0]),
        "encoder_hidden_states_image": torch.randn(2, 5, SMALL.image_dim),
        "return_dict": False,
    }
    with torch.no_grad():
        transformer.set_attn_processor(WanAttnProcessor())
        expected = transformer(encoder_hidden_states=whole, **given)[0]
        short = ShortTextProcessor()
        for block in transformer.blocks:
            block.attn2.set_processor(short)
        short_texts, short.bias_BL = pad_texts(texts)
        assert short_texts.shape[1] == 8
        assert torch.allclose(transformer(encoder_hidden_states=short_texts, **given)[0], expected, atol=1e-4)


def test_a_new_transformer_hears_words_above_the_padding():
    torch.manual_seed(5)
    transformer: Any = new_transformer(SMALL.model)
    initialise_transformer(transformer)
    heads, block = SMALL.heads, transformer.blocks[0]
    states = torch.nn.functional.layer_norm(torch.randn(1, 24, SMALL.model.dim), (SMALL.model.dim,))
    text = torch.cat([torch.randn(1, 10, SMALL.text_dim), torch.zeros(1, TEXT_TOKENS - 10, SMALL.text_dim)], dim=1)
    with torch.no_grad():
        embedded = transformer.condition_embedder.text_embedder(text)
        query, key = (
            norm(linear(given)).unflatten(2, (heads, -1)).transpose(1, 2)
            for norm, linear, given in (
                (block.attn2.norm_q, block.attn2.to_q, states),
                (block.attn2.norm_k, block.attn2.to_k, embedded),
            )
        )
        heard = (query @ key.mT / SMALL.head_dim**0.5).softmax(dim=-1)[..., :10].sum(dim=-1).mean()
    assert heard > 0.4  # of ten words among 512 places, 0.02 would be even


def test_a_new_training_begins_as_the_one_whose_curve_is_kept(tmp_path: Path):
    torch.manual_seed(0)
    words = tokenizer()
    classifier = MotionClassifier(text_encoder(CPU.shape.model))
    stage = Stage("text", tmp_path, classifier, CPU.text)
    stage.run(text_loss(classifier, words, CPU.text_batch), lambda _line: None, lambda: stage.step >= FIRST_STEPS)
    assert stage.losses == pytest.approx(committed()["text"].first[:FIRST_STEPS], rel=1e-3)


def test_the_plot_has_a_panel_for_every_stage():
    curves = committed()
    assert set(curves) == set(STAGES + FINISHING)
    drawn = plot(curves)
    assert drawn.height == 200 * (len(curves) // 2)
    for left, top in product((0, 320), range(0, drawn.height, 200)):
        colours = drawn.crop((left, top, left + 320, top + 200)).getcolors()
        assert colours is not None
        assert (30, 90, 170) in [colour for _count, colour in cast(list[tuple[int, Any]], colours)]


def test_the_yardstick_keeps_what_pictures_are_made_of():
    pictures = [pixel_values(centre_crop(drawn, (64, 48))) for drawn in drawings(3)]
    yardstick = Yardstick(pictures)
    for drawn in pictures:
        assert psnr_db(yardstick.reconstruct(drawn), drawn) > 18
