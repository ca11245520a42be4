"""Half precision in training: bf16 where it pays, norms in fp32, and nothing of it left afterwards."""

import copy

import pytest
import torch
from torch import nn

from inference.pocket.training import precision
from inference.pocket.training.precision import autocast

WIDTH = 8


@pytest.fixture
def model() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.RMSNorm(WIDTH))


@pytest.fixture
def values() -> torch.Tensor:
    return torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(2))


def test_a_pass_is_in_half_precision_only_if_it_is_asked_for(model: nn.Sequential, values: torch.Tensor, half: bool):
    with autocast(model):
        assert model[0](values).dtype == (torch.bfloat16 if half else torch.float32)
    assert model[0](values).dtype == torch.float32


def test_a_norm_gets_fp32_whatever_comes_before_it(model: nn.Sequential, values: torch.Tensor, half: bool):
    """torch warns of a bf16 input beside fp32 weights, and warnings are errors here."""
    with autocast(model):
        made = model(values)
        assert made.dtype == torch.float32
        assert torch.equal(made, model[1](model[0](values).float()))
    made.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_full_precision_changes_no_bit(model: nn.Sequential, values: torch.Tensor, monkeypatch: pytest.MonkeyPatch):
    expected = copy.deepcopy(model)(values)
    monkeypatch.setattr(precision, "has_bf16", lambda: False)
    with autocast(model):
        assert torch.equal(model(values), expected)


def test_after_the_pass_the_model_is_as_before(model: nn.Sequential, values: torch.Tensor, half: bool):
    expected = model(values)
    with autocast(model):
        model(values)
    assert torch.equal(model(values), expected)
    assert not any(module._forward_pre_hooks for module in model.modules())
