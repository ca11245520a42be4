"""The loop of every rank: a command, a job, an outcome. Ignorant of the broker and of its own rank."""

from collections.abc import Callable

import torch
from msgspec import Struct
from PIL import Image

from contracts.process import log
from inference.ranks import out_of_memory
from inference.ranks.broadcast import Failed, Group, Halted
from inference.ranks.commands import Idle, Run, Stop
from inference.wan.generate import generate
from inference.wan.load import Wan
from inference.wan.parallel.mesh import Meshes
from inference.wan.sharding import set_sharded
from inference.wan.snapshot import decode
from inference.wan.vae.codec import SPATIAL_STRIDE


class Generated(Struct, frozen=True):
    """`video_CTHW` is float in [-1, 1]; every rank has it, only rank 0 uses it."""

    video_CTHW: torch.Tensor


class GaveUp(Struct, frozen=True):
    """The job cannot be generated; `reason` is safe to show."""

    reason: str


class Left(Struct, frozen=True):
    """The job was left at a boundary, as rank 0 wished."""


Outcome = Generated | GaveUp | Left


def serve(group: Group, wan: Wan, meshes: Meshes, report: Callable[[Outcome], None]) -> None:
    """Run commands until `Stop`."""
    while True:
        match group.next_command():
            case Run() as run:
                with log.bound(job_id=run.job_id, attempt=run.attempt):
                    _take(run, group, wan, meshes, report)
            case Idle():
                continue
            case Stop():
                return


def _take(run: Run, group: Group, wan: Wan, meshes: Meshes, report: Callable[[Outcome], None]) -> None:
    """Perform one job and report it; nothing of it is held afterwards."""
    outcome = _perform(run, group, wan, meshes)
    report(outcome)
    if isinstance(outcome, GaveUp):
        wan.prompt_cache.clear()
        try:
            out_of_memory.give_back(wan.device)
        except Exception:  # noqa: BLE001  # the job has ended in order, and the next one may need less
            log.get().exception("memory_not_given_back")


def _perform(run: Run, group: Group, wan: Wan, meshes: Meshes) -> Outcome:
    image = Image.frombytes("RGB", (run.width, run.height), run.rgb)
    group.stage = None
    try:
        set_sharded(wan, dit_sharded=run.plan.dit_fsdp, t5_sharded=run.plan.t5_fsdp)
        group.stage = "encode" if run.resumed is None else "denoise"
        layout = meshes.layout(run.plan, latent_rows=run.height // SPATIAL_STRIDE)
        halfway = None if run.resumed is None else decode(run.resumed.conditions, run.resumed.state)
        video_CTHW = generate(wan, run.job, image, group.boundary, layout, halfway=halfway, offer=group.offer)
        group.boundary("store", 0)
        return Generated(video_CTHW)
    except Halted:
        return Left()
    except Failed as agreed:
        return GaveUp(str(agreed))
    except Exception as error:  # noqa: BLE001  # whatever one rank meets, all ranks end the job by
        log.get().exception("stage_failed", stage=group.stage or out_of_memory.GATHER)
        return GaveUp(str(group.fail(run, _describe(error, run, group))))


def _describe(error: Exception, run: Run, group: Group) -> str:
    """What a person may know: the stage and the kind of error, nothing of the inside."""
    if not out_of_memory.ran_out(error):
        return f"{out_of_memory.where(group.stage)} failed with {type(error).__name__}"
    return out_of_memory.reason(group.stage, run.job, run.plan, group.size)
