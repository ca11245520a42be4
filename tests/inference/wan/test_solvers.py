"""The schedules against Wan2.1's figures, and its formula written out here once more (`wan/utils/fm_solvers*.py`)."""

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from contracts.job import Solver
from inference.wan.solvers import Scheduler, advance, solver, timesteps

SOLVERS = get_args(Solver)
# diffusers asks NumPy for an array of a tensor in a way that NumPy 2 finds old.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

PUBLISHED: list[dict[str, Any]] = json.loads((Path(__file__).parent / "wan21_schedules.json").read_text())["schedules"]
CASES = [(20, 0.1), (20, 5.0), (30, 5.0), (40, 3.0), (50, 3.0), (100, 10.0)]


def sigmas(scheduler: Scheduler) -> torch.Tensor:
    assert isinstance(scheduler.sigmas, torch.Tensor)
    return scheduler.sigmas


def wan21_sigmas(highest: float, steps: int, shift: float) -> np.ndarray:
    even = np.linspace(highest, 0, steps + 1)[:steps]
    return shift * even / (1 + (shift - 1) * even)


@pytest.mark.parametrize("figures", PUBLISHED, ids=lambda f: f"{f['solver']}, shift {f['shift']}, {f['steps']} steps")
def test_the_figures_are_those_of_wan(figures: dict[str, Any]):
    scheduler = solver(figures["solver"], figures["steps"], figures["shift"])
    assert torch.equal(sigmas(scheduler), torch.tensor(figures["sigmas"], dtype=torch.float32))
    assert torch.equal(timesteps(scheduler), torch.tensor(figures["timesteps"]))


@pytest.mark.parametrize(("steps", "shift"), CASES)
@pytest.mark.parametrize(("name", "highest"), [("unipc", float(np.float32(0.999))), ("dpm++", 1.0)])
def test_unipc_and_dpm_take_exactly_wans_sigmas(name: Solver, highest: float, steps: int, shift: float):
    scheduler = solver(name, steps, shift)
    expected = wan21_sigmas(highest, steps, shift)
    assert torch.equal(sigmas(scheduler), torch.from_numpy(np.append(expected, 0).astype(np.float32)))
    assert torch.equal(timesteps(scheduler), torch.from_numpy((expected * 1000).astype(np.int64)))


@pytest.mark.parametrize(("steps", "shift"), CASES)
def test_euler_takes_the_sigmas_of_dpm_shifted_once(steps: int, shift: float):
    scheduler = solver("euler", steps, shift)
    expected = wan21_sigmas(1.0, steps, shift)
    assert torch.equal(sigmas(scheduler), torch.from_numpy(np.append(expected, 0).astype(np.float32)))
    assert torch.equal(timesteps(scheduler), torch.from_numpy((expected * 1000).astype(np.float32)))


@pytest.mark.parametrize(("name", "last"), [("unipc", 57.0), ("dpm++", 57.0), ("euler", 57.6923)])
def test_the_last_of_fifty_steps_is_where_wan_has_it(name: Solver, last: float):
    assert timesteps(solver(name, 50, 3.0))[-1].item() == pytest.approx(last, abs=1e-3)


@pytest.mark.parametrize("name", SOLVERS)
def test_each_job_gets_a_scheduler_of_its_own(name: Solver):
    used, fresh = solver(name, 20, 5.0), solver(name, 20, 5.0)
    first = run(name)
    advance(used, torch.ones(1, 1, 1, 2, 2), timesteps(used)[0], torch.ones(1, 1, 1, 2, 2))
    assert fresh.step_index is None
    assert torch.equal(run(name), first)


@pytest.mark.parametrize("name", SOLVERS)
def test_a_straight_path_is_walked_to_its_end(name: Solver):
    """Every solver must arrive at the picture if it gets the true velocity of a straight path from noise to picture."""
    torch.testing.assert_close(run(name), torch.full((1, 1, 1, 2, 2), 0.25), atol=2e-3, rtol=0)


def run(name: Solver) -> torch.Tensor:
    noise, picture = torch.full((1, 1, 1, 2, 2), 1.5), torch.full((1, 1, 1, 2, 2), 0.25)
    scheduler, at = solver(name, 20, 5.0), noise
    for timestep in timesteps(scheduler):
        at = advance(scheduler, noise - picture, timestep, at)
    return at
