"""The loop of a rank that runs out of memory: what it says of each place, and that it goes on. A real group of one."""

from collections.abc import Callable, Generator, Iterator

import pytest
import torch
import torch.distributed as dist

from contracts.job import Job
from contracts.plan import Plan
from contracts.stage_times import Stage
from inference.ranks import out_of_memory, worker
from inference.ranks.broadcast import Group
from inference.ranks.commands import Command, Run, Stop
from inference.ranks.monitor import GroupMonitor
from inference.ranks.worker import Failed, Generated, Outcome, run_commands
from inference.wan.generate import Picture
from inference.wan.load import Wan
from inference.wan.parallel.mesh import Meshes
from inference.wan.snapshot import DenoisingSnapshot
from tests.kit.tiny import job

ALONE = Plan(cfg_size=1, ulysses_size=1)


class Hooks:
    """Has these jobs done one after the other."""

    def __init__(self, *jobs: Job) -> None:
        self.parts: list[tuple[Stage, float]] = []
        self.previews: list[tuple[int, Picture | None]] = []
        self._commands: Iterator[Command] = iter([*(run(each) for each in jobs), Stop()])

    def next_command(self) -> Command:
        return next(self._commands)

    def report_boundary(self, stage: Stage, step: int) -> bool:
        return stage == "store" and step > 0  # never: it is reached once

    def part_done(self, stage: Stage, done: float) -> None:
        self.parts.append((stage, done))

    def offer_preview(self, step: int, make_preview: Callable[[], Picture | None]) -> None:
        self.previews.append((step, make_preview()))

    def offer_snapshot(self, make_snapshot: Callable[[], DenoisingSnapshot]) -> None:
        pass


def run(asked: Job) -> Run:
    rgb = torch.zeros(48, 64, 3, dtype=torch.uint8).numpy().tobytes()
    return Run(job_id="a" * 32, attempt=1, job=asked, plan=ALONE, width=64, height=48, rgb=rgb)


@pytest.fixture
def monitor() -> Generator[GroupMonitor, None, None]:
    store = dist.TCPStore("127.0.0.1", 0, 1, is_master=True)  # pyright: ignore[reportPrivateImportUsage]
    dist.init_process_group("cpu:gloo", store=store, rank=0, world_size=1)
    try:
        yield GroupMonitor(store, 0, 1)
    finally:
        dist.destroy_process_group()


def outcomes(wan: Wan, monitor: GroupMonitor, *jobs: Job) -> list[Outcome]:
    told: list[Outcome] = []
    run_commands(Group(Hooks(*jobs), monitor), wan, Meshes("cpu", 1), told.append)
    return told


def too_much(*_: object, **__: object) -> None:
    torch.empty(2**60, dtype=torch.uint8)


def nothing(*_: object, **__: object) -> None:
    pass


def by_turns(*acts: Callable[..., object]) -> Callable[..., object]:
    """Do the first when called first, the second when called again."""
    left = iter(acts)

    def act(*given: object, **how: object) -> object:
        return next(left)(*given, **how)

    return act


SHORT = job(infer_steps=20, num_frames=25, guidance_scale=1.0)


@pytest.mark.parametrize("before", [0, 1], ids=["first job", "after another"])
def test_memory_that_runs_out_as_weights_are_gathered_is_told_so(
    wan: Wan, monitor: GroupMonitor, monkeypatch: pytest.MonkeyPatch, before: int
):
    monkeypatch.setattr(worker, "set_sharded", by_turns(*[nothing] * before, too_much, nothing))
    *done, gave_up, after = outcomes(wan, monitor, *[SHORT] * (before + 2))
    assert len(done) == before
    assert isinstance(gave_up, Failed)
    assert gave_up.reason.startswith("the cluster ran out of memory while the weights are gathered; what needs less: ")
    assert isinstance(after, Generated)


@pytest.mark.parametrize(("place", "stage"), [("encode", "encode"), ("denoise", "denoise")])
def test_memory_that_runs_out_at_a_stage_names_the_stage(
    wan: Wan, monitor: GroupMonitor, monkeypatch: pytest.MonkeyPatch, place: str, stage: str
):
    monkeypatch.setattr(f"inference.wan.generate.{place}", too_much)
    gave_up = outcomes(wan, monitor, SHORT)[0]
    assert isinstance(gave_up, Failed)
    assert gave_up.reason.startswith(f"the cluster ran out of memory at the stage {stage}; ")


def test_an_error_as_weights_are_gathered_is_not_told_of_the_stage_before(
    wan: Wan, monitor: GroupMonitor, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(worker, "set_sharded", by_turns(nothing, lambda *_, **__: 1 / 0))
    _, gave_up = outcomes(wan, monitor, SHORT, SHORT)
    assert gave_up == Failed("the gathering of the weights failed with ZeroDivisionError")


def test_memory_that_cannot_be_given_back_does_not_end_the_rank(
    wan: Wan, monitor: GroupMonitor, monkeypatch: pytest.MonkeyPatch
):
    def fails(_device: torch.device) -> None:
        raise AttributeError("empty_cache")

    monkeypatch.setattr(out_of_memory, "free_unused_memory", fails)
    monkeypatch.setattr("inference.wan.generate.encode", too_much)
    assert [type(each) for each in outcomes(wan, monitor, SHORT, SHORT)] == [Failed, Failed]
