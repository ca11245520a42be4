"""The metrics of a cluster: its steps and stages by model, size and plan, and what its card takes."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from contracts.events import Timings
from contracts.job import Job
from contracts.plan import Plan
from contracts.process.metrics import Spread
from inference.leader.attempt import Attempt
from inference.leader.numbers import AttemptOutcome, LeaderNumbers
from inference.ranks import device

PLAN = Plan(cfg_size=2, ulysses_size=1, vae_parallel=True)
TIMINGS = Timings(load=0.1, encode=1.0, denoise=40.0, decode=7.0, mux=2.0, store=0.2)
SPOKEN = "cfg=2,ulysses=1,vae_parallel"


def attempt(*, image_size: str | None = "64*48", resumed_from_step: int = 0, begun: bool = True) -> Attempt:
    job = Job(prompt="a boat at sea", num_frames=25, seed=7, image_size=image_size)
    run = SimpleNamespace(job=job, plan=PLAN, resumed_from_step=resumed_from_step)
    return cast("Attempt", SimpleNamespace(begun=begun, prepared=SimpleNamespace(run=run)))


@pytest.fixture
def numbers() -> LeaderNumbers:
    return LeaderNumbers("tiny", "128*96", dict)


def spreads(numbers: LeaderNumbers, name: str) -> dict[tuple[str, ...], Spread]:
    return cast("dict[Any, Spread]", numbers.metrics.all[name].read())


def test_steps_are_timed_from_the_beginning_of_denoise(numbers: LeaderNumbers) -> None:
    one, unnamed = attempt(), attempt(image_size=None)
    for stage, step in (("encode", 0), ("denoise", 0), ("denoise", 1), ("denoise", 2), ("decode", 0)):
        numbers.boundary(one, cast("Any", stage), step)
    numbers.boundary(unnamed, "denoise", 0)
    numbers.boundary(unnamed, "denoise", 1)
    counted = {labels: sum(spread.counts) for labels, spread in spreads(numbers, "wanjet_step_seconds").items()}
    assert counted == {("tiny", "64*48", SPOKEN): 2, ("tiny", "128*96", SPOKEN): 1}


def test_the_parts_of_an_attempt_that_made_a_video_are_counted(numbers: LeaderNumbers) -> None:
    numbers.ended(attempt(), AttemptOutcome.SUCCEEDED, TIMINGS)
    stages = spreads(numbers, "wanjet_stage_seconds")
    assert {labels[0]: spread.total for labels, spread in stages.items()} == {
        "load": 0.1, "encode": 1.0, "denoise": 40.0, "decode": 7.0, "mux": 2.0, "store": 0.2,
    }  # fmt: skip
    assert {labels[1:] for labels in stages} == {("tiny", "64*48", SPOKEN)}


def test_what_a_resumed_attempt_has_done_in_part_is_not(numbers: LeaderNumbers) -> None:
    numbers.ended(attempt(resumed_from_step=7), AttemptOutcome.SUCCEEDED, TIMINGS)
    assert {labels[0] for labels in spreads(numbers, "wanjet_stage_seconds")} == {"load", "decode", "mux", "store"}


def test_an_attempt_that_never_began_does_not_count(numbers: LeaderNumbers) -> None:
    numbers.ended(attempt(begun=False), AttemptOutcome.RELEASED, None)
    assert set(numbers.metrics.all["wanjet_attempts_total"].read().values()) == {0.0}


def test_memory_is_what_the_ranks_say() -> None:
    numbers = LeaderNumbers("tiny", "64*48", lambda: {0: {"allocated": 1, "total": 3}, 1: {"allocated": 2}})
    memory = numbers.metrics.all["wanjet_device_memory_bytes"].read()
    assert memory == {("0", "allocated"): 1.0, ("0", "total"): 3.0, ("1", "allocated"): 2.0}


def test_a_cpu_says_nothing_of_memory_and_an_accelerator_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    device._total_memory.cache_clear()
    assert device.memory(torch.device("cpu")) == {}
    monkeypatch.setattr(
        torch, "get_device_module", lambda _device: SimpleNamespace(mem_get_info=lambda _device: (10, 80))
    )
    monkeypatch.setattr(torch.accelerator, "memory_allocated", lambda _device: 20)
    monkeypatch.setattr(torch.accelerator, "memory_reserved", lambda _device: 30)
    assert device.memory(torch.device("cuda", 0)) == {"allocated": 20, "reserved": 30, "total": 80}
    monkeypatch.setattr(torch, "get_device_module", lambda _device: SimpleNamespace())
    assert device.memory(torch.device("mps")) == {}
    device._total_memory.cache_clear()
