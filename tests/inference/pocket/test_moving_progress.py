"""A job's progress, as it is published, moves while the pocket model encodes and decodes, and an mp4 is written."""

import time
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
import torch
from PIL import Image

from contracts.broker import Delivery, Expect
from contracts.events import JobSubmitted, StageStarted, StepCompleted
from contracts.job import Job
from contracts.plan import Plan
from inference.leader.attempt import Attempt
from inference.leader.mp4 import write_mp4
from inference.leader.pace import Pace
from inference.leader.planner import PreparedAttempt
from inference.leader.reports import REPORT_EVERY_S, REPORT_SHARE
from inference.pocket import POCKET_FOLDER
from inference.ranks.commands import Run
from inference.wan.generate import generate
from inference.wan.load import load

STILL_SHARE_MAX = 0.03
RUNS_MAX = 3
WIDTH, HEIGHT, FRAMES, STEPS = 128, 80, 25, 20
JOB = Job(prompt="a boat at sea, the camera pans left", num_frames=FRAMES, infer_steps=STEPS, seed=1)
ALONE = Plan(cfg_size=1, ulysses_size=1)
PICTURE = Image.radial_gradient("L").resize((WIDTH, HEIGHT)).convert("RGB")


def attempt(pace: Pace) -> Attempt:
    run = Run(
        job_id="0" * 32, attempt=1, job=JOB, plan=Plan(cfg_size=1, ulysses_size=1), width=WIDTH, height=HEIGHT, rgb=b""
    )
    prepared = PreparedAttempt(
        submitted=JobSubmitted(job_id=run.job_id, created_at=0, job=JOB), run=run, expect=Expect(0), left_s=0,
        job_fingerprint="", video_exists=False, load_s=0, cropped=0,
    )  # fmt: skip
    return Attempt(cast("Delivery", SimpleNamespace(traceparent=None, at=0.0)), prepared, pace)


class Curve:
    """When each report of an attempt was made, in seconds of CPU, which a busy machine does not change."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt, self._began = attempt, time.process_time()
        self.reports: list[tuple[float, StageStarted | StepCompleted]] = []
        attempt.begin()

    def seconds(self) -> float:
        return time.process_time() - self._began

    def noting(self, tell: Any) -> Any:
        def told(*at: Any) -> None:
            tell(*at)
            while self._attempt.reports:
                self.reports.append((self.seconds(), cast("Any", self._attempt.reports.popleft())))

        return told


@pytest.fixture
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_progress_stands_still_no_longer_than_a_step_or_three_percent_of_the_job(tmp_path: Path) -> None:
    """Other work on the machine slows single parts even in seconds of CPU, so that the best of three runs counts."""
    wan, pace = load(POCKET_FOLDER, torch.device("cpu")), Pace()
    generate(wan, msgspec.structs.replace(JOB, num_frames=5, prompt="warm up"), PICTURE, lambda _stage, _step: None)
    shares = list[float]()
    for turn in range(RUNS_MAX):
        wan.prompt_cache.clear()
        made = attempt(pace)
        curve = Curve(made)
        boundary, part, frame = (
            curve.noting(tell) for tell in (made.boundary_reached, made.part_done, made.frame_written)
        )
        video = generate(wan, JOB, PICTURE, boundary, report_part=part)
        boundary("store", 0)
        write_mp4(video, tmp_path / f"{turn}.mp4", lambda count, frame=frame: frame(count / FRAMES))
        whole_s = curve.seconds()

        times = [at for at, _ in curve.reports]
        values = [event.progress for _, event in curve.reports]
        assert values == sorted(values)
        within = [event for _, event in curve.reports if isinstance(event, StageStarted) and event.done > 0]
        assert {event.stage for event in within} >= {"encode", "decode"}
        assert len(within) <= 1 / REPORT_SHARE + whole_s / REPORT_EVERY_S

        still_s = max(later - at for at, later in zip([0.0, *times], [*times, whole_s], strict=True))
        steps = [at for at, event in curve.reports if isinstance(event, StepCompleted)]
        step_s = max(later - at for at, later in pairwise(steps))
        shares.append(still_s / max(step_s, STILL_SHARE_MAX * whole_s))
        if shares[-1] <= 1:
            return
    pytest.fail(f"the longest standstill of each run, in the longest that it may be: {shares}")


@pytest.mark.usefixtures("one_thread")
def test_who_asks_how_far_a_job_is_changes_no_bit_of_it() -> None:
    wan, seen = load(POCKET_FOLDER, torch.device("cpu")), dict[str, list[float]]()
    short = msgspec.structs.replace(JOB, num_frames=9)
    asked = generate(
        wan, short, PICTURE, lambda _stage, _step: None,
        report_part=lambda stage, done: seen.setdefault(stage, []).append(done),
    )  # fmt: skip
    wan.prompt_cache.clear()
    assert torch.equal(asked, generate(wan, short, PICTURE, lambda _stage, _step: None))
    for stage in ("encode", "decode"):
        assert seen[stage] == sorted(seen[stage])
        assert seen[stage][-1] == pytest.approx(1.0)
    for part in (wan.vae, wan.text_encoder):
        assert not any(module._forward_hooks for module in part.modules())
