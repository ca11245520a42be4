"""Launch one rank of a cluster: read its settings, load the model, join the group, and run until it is told to stop.

Every rank runs the loop of `worker`. Rank 0 keeps asyncio and the `Leader` in its main thread and runs that loop in a
second one. If either thread fails, the process ends, and torchrun and its supervisor start the cluster again.
"""

import asyncio
import contextvars
import os
import threading
from collections.abc import Callable
from functools import partial
from socket import socket

import uvloop
from torch.distributed.distributed_c10d import Store

from contracts.broker import bus
from contracts.cluster import ClusterStatus
from contracts.process import env, lifetime, log, metrics_port, start, tracing
from contracts.process.die_with_parent import die_with_parent
from contracts.stores import configured
from inference.leader.bridge import ThreadBridge
from inference.leader.context import RunnerContext
from inference.leader.leader import Leader
from inference.leader.limits import Limits
from inference.leader.numbers import LeaderNumbers
from inference.model import check_before_loading, choose_plan, first_status, load_model, room_of, with_previews
from inference.ranks import device
from inference.ranks.broadcast import Group
from inference.ranks.monitor import GroupMonitor
from inference.ranks.worker import run_commands
from inference.settings import Settings
from inference.wan import kernels
from inference.wan.load import Wan
from inference.wan.parallel.mesh import Meshes

LOOP_ENDS_WITHIN_S = 10.0


def main(on_running: Callable[[], None] = lambda: None) -> None:
    """Run the rank that the environment names from its start to its end. Once in a process.

    Raises `BadSetting` for settings by which it cannot start; if another rank fails, the process ends. Rank 0 calls
    `on_running` once every rank has loaded the model and watches the others.
    """
    settings = env.read(Settings)
    set_up_log = start.configure if settings.rank == 0 else start.configure_log
    set_up_log("inference", own_stdout=True, rank=settings.rank)
    die_with_parent()
    if settings.rank == 0:
        tracing.configure("inference")
        configured.check(settings.video_store_url, settings.scratch_store_url)
    scrapes = metrics_port.opened(settings.metrics_host, settings.metrics_port if settings.rank == 0 else 0)
    where = device.choose(settings.local_rank)
    device.make_current(where)
    check_before_loading(settings, where)
    with device.join_group(where) as store:
        wan = load_model(settings, where)
        room = room_of(settings, wan)
        plan = choose_plan(settings, wan.heads, room, wan.card.default_size)
        if settings.compile_blocks:
            kernels.compile_blocks(wan.transformer)
            kernels.warm_up(wan)
        meshes = Meshes(where.type, settings.world_size)
        if settings.rank == 0:
            status = first_status(settings, wan, plan, room)
            wan = with_previews(wan)
            uvloop.run(run_rank_zero(settings, wan, meshes, status, store, scrapes=scrapes, on_running=on_running))
        else:
            run_other_rank(settings, wan, meshes, store)
    log.get().info("rank_stopped")
    tracing.end()


def run_other_rank(settings: Settings, wan: Wan, meshes: Meshes, store: Store) -> None:
    """Run the loop of a rank that is not 0, in this thread, until rank 0 ends it. Signals to stop are ignored.

    If the loop fails, the whole group is aborted and the error passes through.
    """
    lifetime.leave_signals_to_others()
    memory = partial(device.memory, wan.device)
    with GroupMonitor(store, settings.rank, settings.world_size, memory=memory).running() as monitor:
        try:
            run_commands(Group(None, monitor), wan, meshes, lambda _outcome: None)
        except BaseException:
            monitor.abort_group(f"the loop of rank {settings.rank} failed")
            raise


async def run_rank_zero(
    settings: Settings,
    wan: Wan,
    meshes: Meshes,
    status: ClusterStatus,
    store: Store,
    *,
    scrapes: list[socket],
    on_running: Callable[[], None],
) -> None:
    """Run the loop of all ranks in a second thread, and the leader in this one, until a signal tells it to stop.

    If either fails, or the loop does not end in time, the process ends with exit code 1. `status` is the cluster's
    first; its numbers are served on the sockets `scrapes`; `on_running` is called once all ranks watch each other.
    """
    stop, bridge = lifetime.stop_on_signals(), ThreadBridge(settings.checkpoint_interval)
    monitor = GroupMonitor(
        store,
        settings.rank,
        settings.world_size,
        memory=partial(device.memory, wan.device),
        on_failure=bridge.failure_reported,
        on_abort=bridge.group_aborts,
    )
    with monitor.running():
        on_running()
        loop_ended = start_compute_thread(wan, meshes, bridge, monitor)
        try:
            numbers = LeaderNumbers(status.model, status.default_size, monitor.memory)
            async with metrics_port.serving(scrapes, numbers.metrics):
                await lead(settings, status, bridge, monitor, numbers, stop=stop)
        except BaseException:  # noqa: BLE001  # the compute thread may wait for this one: end both
            log.get().exception("lead_failed")
            os._exit(1)
        if not await lifetime.wait_until_set(loop_ended, within_s=LOOP_ENDS_WITHIN_S):
            log.get().error("loop_did_not_end")
            os._exit(1)


async def lead(
    settings: Settings,
    status: ClusterStatus,
    bridge: ThreadBridge,
    monitor: GroupMonitor,
    numbers: LeaderNumbers,
    *,
    stop: asyncio.Event,
) -> None:
    """Connect to the broker, and serve its queue until `stop`."""
    async with bus.connect(settings.nats_url, name="inference", **settings.shown("inference"), stop=stop) as broker:
        numbers.add_broker(broker)
        context = RunnerContext.make(
            broker=broker,
            videos=configured.video_store(settings.video_store_url),
            scratch=configured.scratch_store(settings.scratch_store_url),
            bridge=bridge,
            monitor=monitor,
            cluster=status,
            limits=Limits(
                task_timeout_s=settings.task_timeout,
                stage_timeout_s=settings.stage_timeout,
                stage_floor_s=settings.stage_timeout_floor,
                room_bytes=int(1e9 * settings.min_free_space),
                max_attempts=settings.max_attempts,
            ),
            public_url=settings.public_url or "",
            numbers=numbers,
        )
        await Leader(context).serve(stop)


def start_compute_thread(wan: Wan, meshes: Meshes, bridge: ThreadBridge, monitor: GroupMonitor) -> asyncio.Event:
    """Start rank 0's loop of commands in a second thread, and return the event that is set once it has ended in order.

    If the loop fails, the whole group is aborted and the event stays unset.
    """
    ended, asyncio_loop = asyncio.Event(), asyncio.get_running_loop()

    def run() -> None:
        """Run the loop in the second thread; log an error and abort the group, else set `ended`."""
        try:
            device.make_current(wan.device)
            run_commands(Group(bridge, monitor), wan, meshes, bridge.deliver_outcome)
        except BaseException:  # noqa: BLE001  # the leader may wait for this thread: the group ends
            log.get().exception("loop_failed")
            monitor.abort_group("the loop of rank 0 failed")
        else:
            asyncio_loop.call_soon_threadsafe(ended.set)

    here = contextvars.copy_context()  # with the fields that are bound to every log line
    threading.Thread(target=here.run, args=(run,), name="loop", daemon=True).start()
    return ended
