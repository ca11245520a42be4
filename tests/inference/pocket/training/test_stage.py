"""A stage of training: killed at any moment, it goes on to the result that it would have had."""

from pathlib import Path

import pytest
import torch
from torch import nn

from inference.pocket.training import stage
from inference.pocket.training.stage import SHOW_EVERY_STEPS, Schedule, Stage, losses

SCHEDULE = Schedule(steps=7, rate=1e-2)


class Network(nn.Module):
    """With a layer that only every other loss reaches, as a VAE's convolutions over time have it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.always = nn.Sequential(nn.Linear(4, 8), nn.SiLU(), nn.Linear(8, 4))
        self.at_times = nn.Linear(4, 4)

    def forward(self, given: torch.Tensor, step: int = 0) -> torch.Tensor:
        made = self.always(given)
        return self.at_times(made) if step % 2 else made


def run(folder: Path, stop_before: int = 99) -> Stage:
    network = Network()
    stage = Stage("copy", folder, network, SCHEDULE)

    def loss(step: int, rng: torch.Generator) -> torch.Tensor:
        given = torch.randn(16, 4, generator=rng)
        return (network(given, step) - given).square().mean()

    stage.run(loss, lambda _line: None, lambda: stage.step >= stop_before)
    return stage


def test_a_stage_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path):
    run(tmp_path / "parts", stop_before=3)
    assert run(tmp_path / "parts", stop_before=5).step == 5
    parts, whole = run(tmp_path / "parts"), run(tmp_path / "whole")
    assert parts.step == whole.step == SCHEDULE.steps
    assert parts.losses == pytest.approx(whole.losses, rel=1e-6)
    for one, other in zip(parts.load_ema().parameters(), whole.load_ema().parameters(), strict=True):
        assert torch.equal(one, other)
    assert losses(tmp_path / "whole", "copy") == pytest.approx(whole.losses, rel=1e-6)


def test_a_long_stage_saves_and_tells_its_losses_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stage, "SAVE_EVERY_S", 0)
    network, told, saved = Network(), list[str](), list[int]()
    long = Stage("copy", tmp_path, network, Schedule(steps=SHOW_EVERY_STEPS + 3, rate=1e-2))

    def loss(_step: int, _rng: torch.Generator) -> torch.Tensor:
        saved.append(len(losses(tmp_path, "copy")))
        return network(torch.ones(4)).square().mean()

    long.run(loss, told.append, lambda: False)
    assert saved == list(range(SHOW_EVERY_STEPS + 3))
    assert [line.split()[1] for line in told] == ["25/28", "28/28"]


def test_a_stage_that_has_ended_does_nothing_more(tmp_path: Path):
    run(tmp_path)
    before = (tmp_path / "copy.safetensors").stat().st_mtime_ns
    assert run(tmp_path).step == SCHEDULE.steps
    assert (tmp_path / "copy.safetensors").stat().st_mtime_ns == before


def test_a_loss_that_is_no_number_stops_the_training_and_leaves_the_last_state(tmp_path: Path):
    run(tmp_path, stop_before=3)
    network = Network()
    stage = Stage("copy", tmp_path, network, SCHEDULE)
    with pytest.raises(ArithmeticError, match="no number"):
        stage.run(lambda _step, _rng: network(torch.ones(4)).sum() * torch.inf, lambda _line: None, lambda: False)
    assert Stage("copy", tmp_path, Network(), SCHEDULE).step == 3


def test_a_stage_that_has_not_begun_has_no_losses(tmp_path: Path):
    assert losses(tmp_path, "copy") == []
