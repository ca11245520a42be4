"""A rank as in production, but for the fault that a job's seed asks for: `torchrun … -m tests.flow.faulty_rank`."""

import os
import signal
import time
from enum import IntEnum
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from contracts.events import Stage
from contracts.job import Job
from inference import __main__ as rank
from inference import lead, worker
from inference.attempt import Attempt
from inference.video import write_mp4
from inference.wan.generate import Boundary, generate
from inference.wan.load import Wan
from inference.wan.mesh import Layout

AT_STEP = 3
SECONDS = float(os.environ.get("FAULT_SECONDS", "1"))


class Fault(IntEnum):
    """Seeds that do harm, all but the last three on rank 1 alone."""

    AT_BOUNDARY = 9001
    IN_COLLECTIVE = 9002
    DIES = 9003
    HANGS = 9004
    SLOW_DECODE = 9005
    SLOW_STORE = 9006
    DIES_BEFORE_ENDING = 9007


def faulty_generate(wan: Wan, job: Job, image: Image.Image, boundary: Boundary, layout: Layout) -> torch.Tensor:
    handles: list[Any] = []

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
        boundary(stage, step)

    try:
        video = generate(wan, job, image, faulty, layout)
    finally:
        for handle in handles:
            handle.remove()
    if job.seed == Fault.SLOW_DECODE:
        time.sleep(SECONDS)
    return video


class FaultyLead(lead.Lead):
    async def _store(self, attempt: Attempt, recipe: str, video_CTHW: torch.Tensor) -> None:  # noqa: N803
        def slowly(video: torch.Tensor, path: Path, on_frame: Any, *, recipe: str) -> None:
            time.sleep(SECONDS if attempt.job.seed == Fault.SLOW_STORE else 0)
            write_mp4(video, path, on_frame, recipe=recipe)

        lead.write_mp4 = slowly
        await super()._store(attempt, recipe, video_CTHW)

    async def _succeed(self, attempt: Attempt) -> None:
        if attempt.job.seed == Fault.DIES_BEFORE_ENDING and attempt.number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        await super()._succeed(attempt)


if __name__ == "__main__":
    worker.generate = faulty_generate
    rank.Lead = FaultyLead
    rank.main()
