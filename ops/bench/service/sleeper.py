"""A cluster whose ranks sleep instead of computing: `python -m ops.bench.service.sleeper SPEED`, for `eta`.

Rank 0's half is the product's own, with its progress, paces and heartbeats. A job takes as long as its size, steps and
guidance ask for, times `SPEED`, give or take `JITTER` for each stage; other load on the machine does not change that.
"""

import random
import sys
import threading
import time
import uuid

import torch
import torch.distributed as dist
import uvloop

from contracts.broker import bus
from contracts.cluster import ClusterStatus
from contracts.plan import Plan
from contracts.process import env, lifetime, start
from contracts.stage_times import Stage, units
from contracts.stores import configured
from inference.leader.bridge import ThreadBridge
from inference.leader.context import RunnerContext
from inference.leader.leader import Leader
from inference.leader.limits import Limits
from inference.ranks.commands import Run, Stop
from inference.ranks.monitor import GroupMonitor
from inference.ranks.worker import Generated
from inference.settings import Settings

SIZES = ("256*144", "832*480")
SECONDS_PER_UNIT: dict[str, dict[Stage, float]] = {
    "256*144": {"encode": 5e-7, "denoise": 8e-8, "decode": 1e-6},
    "832*480": {"encode": 5e-8, "denoise": 1.2e-8, "decode": 1e-7},
}
"""By size: attention makes a large video dearer than its pixels, and a card takes small ones less well."""
JITTER = 0.1
"""The deviation of a stage's time, as a share of it."""
PARTS = 4
"""In how many parts the stages beside `denoise` are reported."""
FILM_SIDE = 16


def sleep_through(bridge: ThreadBridge, speed: float, draw: random.Random) -> None:
    """Take the jobs of the bridge one after the other, and sleep through their stages until `Stop`."""
    while not isinstance(command := bridge.next_command(), Stop):
        if isinstance(command, Run):
            for stage in ("encode", "denoise", "decode"):
                bridge.report_boundary(stage, 0)
                _sleep(bridge, command, stage, speed * draw.gauss(1, JITTER))
            bridge.report_boundary("store", 0)
            bridge.deliver_outcome(Generated(torch.zeros(3, command.job.num_frames, FILM_SIDE, FILM_SIDE)))


def _sleep(bridge: ThreadBridge, run: Run, stage: Stage, slowness: float) -> None:
    """Sleep through one stage, and report its steps or parts."""
    pixels = run.width * run.height * run.job.num_frames
    whole_s = SECONDS_PER_UNIT[f"{run.width}*{run.height}"][stage] * units(stage, run.job, pixels) * slowness
    count = run.job.infer_steps if stage == "denoise" else PARTS
    for part in range(1, count + 1):
        time.sleep(whole_s / count)
        if stage == "denoise":
            bridge.report_boundary(stage, part)
        else:
            bridge.part_done(stage, part / count)


async def serve(settings: Settings, speed: float) -> None:
    """Serve the queue until a signal says to stop."""
    stop, bridge = lifetime.stop_on_signals(), ThreadBridge()
    monitor = GroupMonitor(dist.HashStore(), 0, 1)  # pyright: ignore[reportPrivateImportUsage]
    draw = random.Random(settings.cluster_name)
    threading.Thread(target=sleep_through, args=(bridge, speed, draw), daemon=True).start()
    now = time.time()
    status = ClusterStatus(
        instance=uuid.uuid4().hex, name=settings.cluster_name, device="cpu", world_size=1, model="sleeper",
        sizes=list(SIZES), default_size=SIZES[0], heads=1, plan=Plan(cfg_size=1, ulysses_size=1), current_jobs=[],
        started_at=now, at=now,
    )  # fmt: skip
    limits = Limits(task_timeout_s=3600, stage_timeout_s=900, stage_floor_s=60, room_bytes=0, max_attempts=3)
    with monitor.running():
        async with bus.connect(settings.nats_url, name="bench", stop=stop) as broker:
            context = RunnerContext.make(
                broker=broker,
                videos=configured.video_store(settings.video_store_url),
                scratch=configured.scratch_store(settings.scratch_store_url),
                bridge=bridge,
                monitor=monitor,
                cluster=status,
                limits=limits,
            )
            await Leader(context).serve(stop)


if __name__ == "__main__":
    start.configure_log("sleeper")
    uvloop.run(serve(env.read(Settings), float(sys.argv[1])))
