"""A model that is trained further: from a checkpoint, to a checkpoint."""

from pathlib import Path

import pytest
import torch

from inference.pocket import build
from inference.pocket.data.latent_dataset import Views
from inference.pocket.training.export import export, to_fp16
from inference.pocket.training.finish import finish
from inference.pocket.training.recipe import Finish
from inference.pocket.training.run import TrainingRun
from inference.pocket.training.stage import Schedule, losses
from inference.wan.checkpoint.open import open_checkpoint
from tests.kit.short_training import SECONDS, SMALL

TINY = Finish(
    pictures=3,
    photos=False,
    vae=Schedule(2, 4e-4),
    views=Views(2, ((64, 48),), frames=9, motions=2),
    transformer=Schedule(2, 1e-3),
    batch=2,
    clip_batch=1,
    clip_frames=5,
    side=32,
    prompts_per_motion=1,
)


def test_a_checkpoint_is_trained_further_and_written_anew(state: Path, tmp_path: Path):
    export(tmp_path / "begun", state, SECONDS)
    model = build.read(tmp_path / "begun")
    before = {
        name: parameter.detach().clone()
        for module in (model.vae, model.transformer, model.text_encoder)
        for name, parameter in module.named_parameters()
    }
    said: list[str] = []
    finish(TrainingRun(tmp_path / "state", said.append), TINY, model)
    assert len(losses(tmp_path / "state", "finish-transformer")) == 2
    for module, changed in ((model.vae, True), (model.transformer, True), (model.text_encoder, False)):
        equal = [torch.equal(parameter, before[name]) for name, parameter in module.named_parameters()]
        assert all(equal) is not changed
    build.write(tmp_path / "done", lambda: to_fp16(model), SMALL.card)
    open_checkpoint(tmp_path / "done")
    for config in (tmp_path / "done").glob("*/config.json"):
        assert str(tmp_path) not in config.read_text()
    again = build.read(tmp_path / "done")
    assert again.vae.config["latents_mean"] == build.read(tmp_path / "begun").vae.config["latents_mean"]


def test_a_state_begun_from_other_weights_is_not_gone_on_with(state: Path, tmp_path: Path):
    export(tmp_path / "begun", state, SECONDS)
    model = build.read(tmp_path / "begun")
    finish(TrainingRun(tmp_path / "state", print, trains=False), TINY, model)
    torch.nn.init.zeros_(model.transformer.proj_out.weight)
    with pytest.raises(ValueError, match="other data"):
        finish(TrainingRun(tmp_path / "state", print), TINY, model)


def test_a_stop_while_latents_are_made_costs_none_of_them(state: Path, tmp_path: Path):
    export(tmp_path / "begun", state, SECONDS)
    run = TrainingRun(tmp_path / "state", lambda line: run.stop.set() if "finish-latents" in line else None)
    finish(run, TINY, build.read(tmp_path / "begun"))
    made = list((tmp_path / "state" / "finish-latents").iterdir())
    assert len(made) == 1
    before = made[0].stat().st_mtime_ns
    assert losses(tmp_path / "state", "finish-transformer") == []
    finish(TrainingRun(tmp_path / "state", print), TINY, build.read(tmp_path / "begun"))
    assert made[0].stat().st_mtime_ns == before
    assert len(losses(tmp_path / "state", "finish-transformer")) == 2


def test_what_has_been_finished_is_not_done_again(state: Path, tmp_path: Path):
    export(tmp_path / "begun", state, SECONDS)
    made: list[torch.Tensor] = []
    for expected in (True, False):
        model, said = build.read(tmp_path / "begun"), list[str]()
        finish(TrainingRun(tmp_path / "state", said.append), TINY, model)
        assert bool(said) is expected
        made.append(model.transformer.proj_out.weight.detach().clone())
    assert torch.equal(*made)
