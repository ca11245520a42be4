"""One rank of a cluster: settings, process groups, and who leads and who follows.

Rank 0 keeps asyncio in its main thread and runs the loop of all ranks in a second one; if either half fails the
process ends, and torchrun and what watches over it start the cluster again.
"""

import asyncio
import contextvars
import os
import threading
import time
import uuid
from dataclasses import replace

import torch
import uvloop
from torch.distributed.distributed_c10d import Store

from contracts.broker import bus
from contracts.cluster import ClusterStatus
from contracts.plan import Plan, own_plan
from contracts.process import env, lifetime, log, start
from contracts.process.die_with_parent import die_with_parent
from contracts.stores import configured
from inference.leader.bridge import ThreadBridge
from inference.leader.leader import Leader
from inference.leader.planner import Limits
from inference.ranks import device
from inference.ranks.broadcast import Group
from inference.ranks.monitor import GroupMonitor
from inference.ranks.worker import serve
from inference.settings import Settings
from inference.wan import kernels
from inference.wan.checkpoint.open import open_checkpoint
from inference.wan.checkpoint.tensors import CheckpointError
from inference.wan.load import Wan, load
from inference.wan.parallel.fsdp import sharding_mesh
from inference.wan.parallel.mesh import Meshes

LOOP_ENDS_WITHIN_S = 10.0
GB = 1e9


def main() -> None:
    settings = env.read(Settings)
    (start.configure if settings.rank == 0 else log.configure)("inference", rank=settings.rank)
    die_with_parent()
    if settings.rank == 0:
        configured.check(settings.video_store_url, settings.scratch_store_url)
    where = device.choose(settings.local_rank)
    device.make_current(where)
    check(settings, where)
    with device.join_group(where) as store:
        wan = prepare(settings, where)
        plan = choose_plan(settings, wan.heads)
        if settings.compile_blocks:
            kernels.compile_blocks(wan.transformer)
            kernels.warm_up(wan)
        meshes = Meshes(where.type, settings.world_size)
        if settings.rank == 0:
            uvloop.run(run_rank_zero(settings, wan, meshes, plan, store))
        else:
            run_other_rank(settings, wan, meshes, store)
    log.get().info("rank_stopped")


def check(settings: Settings, where: torch.device) -> None:
    """Look at all that a wrong setting can break before a weight is read: reading takes minutes.

    Raises `BadSetting`, which ends the process.
    """
    try:
        config = open_checkpoint(settings.model_ckpt_dir).transformer.empty().config
    except CheckpointError as error:
        raise env.BadSetting(f"MODEL_CKPT_DIR: {error}") from error
    choose_plan(settings, config["num_attention_heads"])
    asked = settings.attention_backend
    if asked and not kernels.backend_works(asked, where, config["attention_head_dim"]):
        raise env.BadSetting(f"ATTENTION_BACKEND was {env.shown(asked)}; {where.type} cannot run that one here")


def prepare(settings: Settings, where: torch.device) -> Wan:
    """The model as the settings want it; one sentence and the end of the process if that cannot be."""
    began = time.monotonic()
    try:
        if settings.fp8_linear:
            kernels.check_fp8(where)
        if settings.compile_blocks:
            kernels.check_compile(where)
        wan = load(
            settings.model_ckpt_dir,
            where,
            large_sizes=settings.pocket_large_sizes,
            mesh=sharding_mesh(where.type, settings.world_size),
            offload_text_encoder=settings.offload_text_encoder,
            fp8_linear=settings.fp8_linear,
        )
        attention = kernels.set_attention_backend(wan, settings.attention_backend)
    except CheckpointError as error:
        raise env.BadSetting(f"MODEL_CKPT_DIR: {error}") from error
    except kernels.KernelError as error:
        raise env.BadSetting(str(error)) from error
    seconds = round(time.monotonic() - began, 1)
    weights = "+".join([wan.weights, *kernels.approximations(attention, fp8_linear=settings.fp8_linear)])
    log.get().info("model_loaded", model=wan.card.name, weights=weights, attention=attention, seconds=seconds)
    return replace(wan, weights=weights)


def choose_plan(settings: Settings, heads: int) -> Plan:
    """The cluster's own plan, which jobs that ask for nothing run by. Ends the process where it cannot be run."""
    try:
        return own_plan(settings.plan, settings.world_size, heads)
    except ValueError as error:
        raise env.BadSetting(f"PLAN: {error}") from error


def run_other_rank(settings: Settings, wan: Wan, meshes: Meshes, store: Store) -> None:
    """Every rank but 0: the loop of all ranks, until rank 0 ends it."""
    lifetime.leave_signals_to_others()
    with GroupMonitor(store, settings.rank, settings.world_size).running() as monitor:
        try:
            serve(Group(None, monitor), wan, meshes, lambda _outcome: None)
        except BaseException:
            monitor.abort_group(f"the loop of rank {settings.rank} failed")
            raise


async def run_rank_zero(settings: Settings, wan: Wan, meshes: Meshes, plan: Plan, store: Store) -> None:
    """Rank 0: the loop of all ranks in a thread of its own, the life of jobs in this one."""
    stop = lifetime.stop_on_signals()
    bridge = ThreadBridge(settings.checkpoint_interval)
    monitor = GroupMonitor(
        store, settings.rank, settings.world_size, on_failure=bridge.failure_reported, on_abort=bridge.group_aborts
    )
    with monitor.running():
        loop_ended = start_loop(wan, meshes, bridge, monitor)
        try:
            async with bus.connect(settings.nats_url, name="inference", creds=settings.nats_creds, stop=stop) as broker:
                await Leader(
                    broker=broker,
                    videos=configured.video_store(settings.video_store_url),
                    scratch=configured.scratch_store(settings.scratch_store_url),
                    bridge=bridge,
                    monitor=monitor,
                    cluster=describe(settings, wan, plan),
                    limits=Limits(
                        task_timeout_s=settings.task_timeout,
                        stage_timeout_s=settings.stage_timeout,
                        stage_floor_s=settings.stage_timeout_floor,
                        room_bytes=int(settings.min_free_space * GB),
                        max_attempts=settings.max_attempts,
                    ),
                ).serve(stop)
        except BaseException:  # noqa: BLE001  # the other half may wait for this one: end both
            log.get().exception("lead_failed")
            os._exit(1)
        if not await lifetime.wait(loop_ended, within_s=LOOP_ENDS_WITHIN_S):
            log.get().error("loop_did_not_end")
            os._exit(1)


def start_loop(wan: Wan, meshes: Meshes, bridge: ThreadBridge, monitor: GroupMonitor) -> asyncio.Event:
    """Run the loop of all ranks in a second thread; the event is set once it has ended in order."""
    ended = asyncio.Event()
    asyncio_loop = asyncio.get_running_loop()

    def run() -> None:
        try:
            device.make_current(wan.device)
            serve(Group(bridge, monitor), wan, meshes, bridge.report)
        except BaseException:  # noqa: BLE001  # as above
            log.get().exception("loop_failed")
            monitor.abort_group("the loop of rank 0 failed")
        else:
            asyncio_loop.call_soon_threadsafe(ended.set)

    here = contextvars.copy_context()  # what is bound to every log line
    threading.Thread(target=here.run, args=(run,), name="loop", daemon=True).start()
    return ended


def describe(settings: Settings, wan: Wan, plan: Plan) -> ClusterStatus:
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
        plan=plan,
        current_jobs=[],
        started_at=now,
        at=now,
        weights=wan.weights,
    )
