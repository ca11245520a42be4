"""A cluster: `torchrun --nproc-per-node=N -m inference`. Settings, process groups, and who leads and who follows.

Rank 0 keeps asyncio in its main thread and runs the loop of all ranks in a second one; if either half fails the
process ends, and torchrun and what watches over it start the cluster again.
"""

import asyncio
import contextvars
import os
import socket
import sys
import threading
import time
import uuid
from pathlib import Path

import torch
import uvloop
from msgspec import Struct

from contracts import blobs, bus, env, lifetime, log
from contracts.cluster import ClusterStatus
from inference import device, pocket
from inference.broadcast import Group
from inference.desk import Desk
from inference.lead import Lead, Limits
from inference.wan import kernels
from inference.wan.load import Wan, load
from inference.wan.mesh import ulysses_degree
from inference.wan.parallelize import parallelize
from inference.wan.rows import rows_mesh
from inference.wan.weights import CheckpointError
from inference.worker import serve

LOOP_ENDS_WITHIN_S = 10.0


class Settings(Struct, frozen=True):
    rank: int = 0
    local_rank: int = 0
    world_size: int = 1
    nats_url: str = "nats://127.0.0.1:4222"
    nats_creds: str | None = None
    video_store_url: str = "generated_videos/"
    scratch_store_url: str = "scratch/"
    model_ckpt_dir: Path = pocket.POCKET_FOLDER
    pocket_large_sizes: bool = False
    cluster_name: str = socket.gethostname()
    task_timeout: float = 1800
    max_attempts: int = 3
    attention_backend: str | None = None
    compile_blocks: bool = False
    fp8_linear: bool = False
    offload_text_encoder: bool = False


def main() -> None:
    settings = env.read(Settings)
    log.configure("inference", rank=settings.rank)
    device.die_with_parent()
    where = device.choose(settings.local_rank)
    device.make_current(where)
    with device.join_group(where):
        wan = prepare(settings, where)
        degree = ulysses_degree(settings.world_size, wan.heads)
        parallelize(wan, degree)
        if settings.compile_blocks:
            kernels.compile_blocks(wan.transformer)
            kernels.warm_up(wan)
        if settings.rank == 0:
            uvloop.run(lead(settings, wan, degree))
        else:
            lifetime.leave_signals_to_others()
            serve(Group(None), wan, lambda _outcome: None)
    log.get().info("rank_stopped")


def prepare(settings: Settings, where: torch.device) -> Wan:
    """The model as the settings want it; one sentence and the end of the process if that cannot be."""
    began = time.monotonic()
    try:
        if settings.fp8_linear:
            kernels.check_fp8(where)
        wan = load(
            settings.model_ckpt_dir,
            where,
            large_sizes=settings.pocket_large_sizes,
            mesh=rows_mesh(where.type, settings.world_size),
            offload_text_encoder=settings.offload_text_encoder,
            fp8_linear=settings.fp8_linear,
        )
        attention = kernels.attend(wan, settings.attention_backend)
    except (CheckpointError, kernels.KernelError) as error:
        sys.exit(str(error))
    seconds = round(time.monotonic() - began, 1)
    log.get().info("model_loaded", model=wan.card.name, attention=attention, seconds=seconds)
    return wan


async def lead(settings: Settings, wan: Wan, degree: int) -> None:
    """Rank 0: the loop of all ranks in a thread of its own, the life of jobs in this one."""
    stop = lifetime.stop_on_signals()
    desk = Desk()
    loop_ended = asyncio.Event()
    asyncio_loop = asyncio.get_running_loop()

    def run_loop() -> None:
        try:
            device.make_current(wan.device)
            serve(Group(desk), wan, desk.report)
        except BaseException:  # noqa: BLE001  # the other half may wait for this one: end both
            log.get().exception("loop_failed")
            os._exit(1)
        asyncio_loop.call_soon_threadsafe(loop_ended.set)

    here = contextvars.copy_context()  # what is bound to every log line
    threading.Thread(target=here.run, args=(run_loop,), name="loop", daemon=True).start()
    try:
        async with bus.connect(settings.nats_url, name="inference", creds=settings.nats_creds, stop=stop) as broker:
            await Lead(
                broker=broker,
                videos=blobs.folder(settings.video_store_url),
                scratch=blobs.folder(settings.scratch_store_url),
                desk=desk,
                cluster=describe(settings, wan, degree),
                limits=Limits(settings.task_timeout, settings.max_attempts),
            ).serve(stop)
    except BaseException:  # noqa: BLE001  # as above
        log.get().exception("lead_failed")
        os._exit(1)
    if not await lifetime.wait(loop_ended, within_s=LOOP_ENDS_WITHIN_S):
        log.get().error("loop_did_not_end")
        os._exit(1)


def describe(settings: Settings, wan: Wan, degree: int) -> ClusterStatus:
    now = time.time()
    return ClusterStatus(
        instance=uuid.uuid4().hex,
        name=settings.cluster_name,
        device=wan.device.type,
        world_size=settings.world_size,
        model=wan.card.name,
        sizes=wan.card.sizes,
        default_size=wan.card.default_size,
        heads=wan.heads,
        ulysses_size=degree,
        current_jobs=[],
        started_at=now,
        at=now,
    )


if __name__ == "__main__":
    main()
