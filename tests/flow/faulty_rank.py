"""A cluster as in production, but for the faults that jobs ask for: `python -m tests.flow.faulty_rank RANKS`."""

import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from contracts.events import AnyEnding
from contracts.job import Job
from contracts.stage_times import Stage
from inference import cluster, launch
from inference.leader import attempt_runner, context, hanging, leader
from inference.leader.attempt import Attempt
from inference.leader.attempt_runner import AttemptRunner
from inference.leader.completion import JobCompleter
from inference.leader.mp4 import write_mp4
from inference.ranks import worker
from inference.wan.generate import Boundary, OfferPreview, OfferSnapshot, ReportPart, generate
from inference.wan.load import Wan
from inference.wan.parallel.mesh import Layout
from inference.wan.snapshot import DenoisingSnapshot

AT_STEP = 3
LAST_STEP = 15
SAVED_WITHIN_S = 20.0
SLOW_STEP_S = 0.3
LEFT_BYTES = 64 * 2**20
SECONDS = float(os.environ.get("FAULT_SECONDS", "1"))
SLOW_FILE = "slow"
"""In the folder `TMPDIR`: as long as it is there, jobs are slow whose seed is `SLOW_STEPS` or `SLOW_ENCODE`."""


class Fault(IntEnum):
    """Seeds that do harm, those before `SLOW_DECODE` and those with `ON_ONE` on rank 1 alone."""

    AT_BOUNDARY = 9001
    IN_COLLECTIVE = 9002
    DIES = 9003
    HANGS = 9004
    SLOW_DECODE = 9005
    SLOW_STORE = 9006
    DIES_BEFORE_ENDING = 9007
    DIES_ONCE = 9008
    SLOW_STEPS = 9009
    SLOW_ENCODE = 9010
    NO_MEMORY_ENCODE = 9101
    NO_MEMORY_DENOISE = 9102
    NO_MEMORY_DECODE = 9103
    NO_MEMORY_STORE = 9104
    NO_MEMORY_ENCODE_ON_ONE = 9201
    NO_MEMORY_DENOISE_ON_ONE = 9202
    NO_MEMORY_DECODE_ON_ONE = 9203


def faulty_generate(
    wan: Wan, job: Job, image: Image.Image, boundary: Boundary, layout: Layout, *,
    snapshot: DenoisingSnapshot | None, offer_snapshot: OfferSnapshot, offer_preview: OfferPreview,
    report_part: ReportPart,
) -> torch.Tensor:  # fmt: skip
    handles: list[Any] = []
    slow_boundary = slowed(boundary, job.seed)

    def break_down(*_: object) -> None:
        raise RuntimeError("as the seed asks")

    def faulty(stage: Stage, step: int) -> None:
        here = (stage, step) == ("denoise", AT_STEP) and os.environ["RANK"] == "1"
        match job.seed:
            case Fault.AT_BOUNDARY if here:
                break_down()
            case Fault.IN_COLLECTIVE if here:
                handles.append(wan.transformer.blocks[1].register_forward_pre_hook(break_down))
            case Fault.DIES if here:
                os.kill(os.getpid(), signal.SIGKILL)
            case Fault.HANGS if here:
                time.sleep(3600)
            case _:
                pass
        slow_boundary(stage, step)

    if (part := starved(wan, job.seed)) is not None:
        handles.append(part.register_forward_pre_hook(run_out_of_memory))
    try:
        video = generate(
            wan, job, image, faulty, layout, snapshot=snapshot,
            offer_snapshot=dying(offer_snapshot, job.seed), offer_preview=offer_preview, report_part=report_part,
        )  # fmt: skip
    finally:
        for handle in handles:
            handle.remove()
    if job.seed == Fault.SLOW_DECODE:
        time.sleep(SECONDS)
    return video


def slowed(boundary: Boundary, seed: int) -> Boundary:
    """The boundary of a job that takes its time, without using any, where its seed and `SLOW_FILE` ask for it."""
    file = Path(os.environ["TMPDIR"]) / SLOW_FILE

    def slow_boundary(stage: Stage, step: int) -> None:
        if seed == Fault.SLOW_STEPS and stage == "denoise" and file.exists():
            time.sleep(SLOW_STEP_S)
        boundary(stage, step)
        while seed == Fault.SLOW_ENCODE and stage == "encode" and file.exists():
            time.sleep(SLOW_STEP_S)

    return slow_boundary


def dying(offer_snapshot: OfferSnapshot, seed: int) -> OfferSnapshot:
    def offer_and_die(make_snapshot: Callable[[], DenoisingSnapshot]) -> None:
        offer_snapshot(make_snapshot)
        died = Path(os.environ["TMPDIR"]) / "died"
        if seed != Fault.DIES_ONCE or os.environ["RANK"] != "0" or make_snapshot().step != LAST_STEP or died.exists():
            return
        deadline = time.monotonic() + SAVED_WITHIN_S
        while not list(Path(os.environ["SCRATCH_STORE_URL"]).glob(f"checkpoints/*-{LAST_STEP}-*")):
            assert time.monotonic() < deadline, "no checkpoint"
            time.sleep(0.01)
            offer_snapshot(make_snapshot)  # it is not taken while the one before it is being written
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)

    return offer_and_die


def starved(wan: Wan, seed: int | None) -> torch.nn.Module | None:
    """The part of the model that finds no memory here."""
    parts = {"ENCODE": wan.vae.encoder, "DENOISE": wan.transformer.blocks[1], "DECODE": wan.vae.decoder}
    name = Fault(seed).name if seed in list(Fault) else ""
    if not name.startswith("NO_MEMORY") or (name.endswith("ON_ONE") and os.environ["RANK"] != "1"):
        return None
    return parts.get(name.split("_")[2])


def run_out_of_memory(*_: object) -> None:
    """Ask for more than the process may have."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + LEFT_BYTES, before[1]))
    try:
        torch.empty(2 * LEFT_BYTES, dtype=torch.uint8)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


class FaultyRunner(AttemptRunner):
    async def _store_and_complete(self, video_CTHW: torch.Tensor) -> None:  # noqa: N803
        def slowly(video: torch.Tensor, path: Path, on_frame: Any, *, job_fingerprint: str) -> None:
            time.sleep(SECONDS if self.attempt.job.seed == Fault.SLOW_STORE else 0)
            if self.attempt.job.seed == Fault.NO_MEMORY_STORE:
                run_out_of_memory()
            write_mp4(video, path, on_frame, job_fingerprint=job_fingerprint)

        attempt_runner.write_mp4 = slowly
        await super()._store_and_complete(video_CTHW)


class FaultyCompleter(JobCompleter):
    async def succeed(self, attempt: Attempt) -> AnyEnding:
        if attempt.job.seed == Fault.DIES_BEFORE_ENDING and attempt.number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return await super().succeed(attempt)


if __name__ == "__main__":
    worker.generate = faulty_generate
    leader.AttemptRunner = FaultyRunner
    context.JobCompleter = FaultyCompleter
    hanging.AGREE_WITHIN_S = 3
    ranks = int(sys.argv[1])
    cluster.prepare(ranks)
    sys.exit(cluster.run(ranks, launch.main))
