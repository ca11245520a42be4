"""The loop of every rank: take a command, run its job, deliver the outcome.

`inference.launch` calls `run_commands` once on every rank; all ranks pass through the same lines, and none asks which
it is.
"""

from collections.abc import Callable

import torch
from msgspec import Struct
from PIL import Image

from contracts.process import log
from inference.ranks import out_of_memory
from inference.ranks.broadcast import FailureAgreed, Group, LeaveAgreed
from inference.ranks.commands import Idle, Run, Stop
from inference.wan.generate import generate
from inference.wan.load import Wan
from inference.wan.parallel.mesh import Meshes
from inference.wan.sharding import set_sharded
from inference.wan.snapshot import decode_snapshot
from inference.wan.vae.codec import SPATIAL_STRIDE


class Generated(Struct, frozen=True):
    """The job's video is ready: `video_CTHW` is float in [-1, 1]. Rank 0 has all of it, others may have some rows."""

    video_CTHW: torch.Tensor


class Failed(Struct, frozen=True):
    """The job cannot be generated; `reason` is safe to show."""

    reason: str


class Left(Struct, frozen=True):
    """The job was left at a boundary, as rank 0 voted."""


Outcome = Generated | Failed | Left


def run_commands(group: Group, wan: Wan, meshes: Meshes, deliver_outcome: Callable[[Outcome], None]) -> None:
    """Run the commands of rank 0 until `Stop`, and call `deliver_outcome` with the outcome of every job.

    A collective: every rank calls it. Raises only what leaves the group broken, such as a rank gone from a vote.
    """
    while True:
        match group.broadcast_next_command():
            case Run() as run:
                traced = {"trace_id": run.trace_id} if run.trace_id else {}
                with log.bound(job_id=run.job_id, attempt=run.attempt, **traced):
                    _run_and_deliver(run, group, wan, meshes, deliver_outcome)
            case Idle():
                continue
            case Stop():
                return


def _run_and_deliver(
    run: Run, group: Group, wan: Wan, meshes: Meshes, deliver_outcome: Callable[[Outcome], None]
) -> None:
    """Run one job and deliver its outcome. After a failure the job's memory and the prompt cache are released."""
    outcome = _generate_outcome(run, group, wan, meshes)
    deliver_outcome(outcome)
    if isinstance(outcome, Failed):
        wan.prompt_cache.clear()
        try:
            out_of_memory.free_unused_memory(wan.device)
        except Exception:  # noqa: BLE001  # the job has ended in order, and the next one may need less
            log.get().exception("memory_not_given_back")


def _generate_outcome(run: Run, group: Group, wan: Wan, meshes: Meshes) -> Outcome:
    """Generate the job's video, and return the outcome, which is of the same kind on all ranks.

    A collective. An error of one rank becomes `Failed` on all.
    """
    image = Image.frombytes("RGB", (run.width, run.height), run.rgb)
    group.stage = None
    try:
        set_sharded(wan, dit_sharded=run.plan.dit_fsdp, t5_sharded=run.plan.t5_fsdp)
        group.stage = "encode" if run.snapshot is None else "denoise"
        layout = meshes.layout(run.plan, latent_rows=run.height // SPATIAL_STRIDE)
        snapshot = None if run.snapshot is None else decode_snapshot(run.snapshot.conditions, run.snapshot.state)
        video_CTHW = generate(
            wan,
            run.job,
            image,
            group.vote_at_boundary,
            layout,
            snapshot=snapshot,
            offer_snapshot=group.offer_snapshot,
            offer_preview=group.offer_preview,
            report_part=group.report_part,
        )
        group.vote_at_boundary("store", 0)
        return Generated(video_CTHW)
    except LeaveAgreed:
        return Left()
    except FailureAgreed as agreed:
        return Failed(str(agreed))
    except Exception as error:  # noqa: BLE001  # whatever one rank meets, all ranks end the job by
        log.get().exception("stage_failed", stage=group.stage or out_of_memory.GATHER)
        return Failed(str(group.vote_failure(run, _safe_reason(error, run, group))))


def _safe_reason(error: Exception, run: Run, group: Group) -> str:
    """Return the stage and the error's type, or advice if memory ran out: safe to show, nothing of the error's text."""
    if not out_of_memory.is_out_of_memory(error):
        return f"{out_of_memory.in_words(group.stage)} failed with {type(error).__name__}"
    return out_of_memory.advice(group.stage, run.job, run.plan, group.size)
