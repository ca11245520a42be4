"""CLIP and VAE in main memory, and on the device for the moments of their use."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from inference.wan.generate import generate
from inference.wan.load import Wan
from inference.wan.visiting import on_device
from tests.kit.tiny import Broken, break_off, go_on, image, job

META = torch.device("meta")
OTHER_NAME_OF_THE_CPU = torch.device("cpu:0")
"""Not equal to the device of any tensor here, and yet one to compute on."""


def parameters(*models: nn.Module) -> list[nn.Parameter]:
    return [parameter for model in models for parameter in model.parameters()]


def test_a_model_is_on_the_device_within_the_block_and_back_after_it() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).requires_grad_(requires_grad=False)
    before, running = parameters(model), model[1].running_mean
    with on_device(model, META):
        assert {tensor.device for tensor in [*model.parameters(), *model.buffers()]} == {META}
    with pytest.raises(Broken), on_device(model, META):
        break_off()
    assert all(now is then for now, then in zip(parameters(model), before, strict=True))
    assert model[1].running_mean is running


def test_a_model_that_is_on_the_device_stays_as_it_is(wan: Wan) -> None:
    before = parameters(wan.vae)
    with on_device(wan.vae, wan.device):
        assert all(now is then for now, then in zip(parameters(wan.vae), before, strict=True))


def test_a_job_has_both_visit_and_makes_the_same_video(wan: Wan) -> None:
    expected = generate(wan, job(infer_steps=2), image(), go_on)
    before, present = parameters(wan.vae, wan.image_encoder), dict[str, bool]()

    def note(name: str, model: nn.Module) -> None:
        present[name] = present.get(name, True) and all(
            parameter not in homes for parameter in map(id, parameters(model))
        )

    homes = {id(parameter) for parameter in before}
    watched = {"encoder": wan.vae.encoder, "decoder": wan.vae.decoder, "clip": wan.image_encoder}
    handles = [
        module.register_forward_pre_hook(partial(lambda name, module, _given: note(name, module), name))
        for name, module in watched.items()
    ]
    away = replace(wan, device=OTHER_NAME_OF_THE_CPU)
    found = generate(away, job(infer_steps=2), image(), go_on)
    for handle in handles:
        handle.remove()
    assert torch.equal(found, expected)
    assert present == dict.fromkeys(watched, True)
    assert all(now is then for now, then in zip(parameters(wan.vae, wan.image_encoder), before, strict=True))
