"""A process as in production that can be held at named points: `python -m tests.chaos.faults.pausable ROLE`.

A point is held while there is a file `hold` of its name in HELD_FOLDER; who comes to it leaves a file `at` beside it.
A file `clock ROLE` there shifts the time of day that the role's processes see, by as many seconds as it says, from the
moment at which it is written.
"""

import asyncio
import os
import runpy
import sys
import time
from collections.abc import Mapping, Sequence
from mmap import mmap
from pathlib import Path

HELD_S_MAX = 180.0
POLL_S = 0.02
STEP = 6
"""Of the denoising steps, the one after which a rank can be held."""


def arrives(point: str) -> bool:
    """Whether to wait here."""
    if not _hold(point).exists():
        return False
    (_folder() / f"at {point}").touch()
    return True


async def reach(point: str) -> None:
    await asyncio.to_thread(reach_in_thread, point)


def reach_in_thread(point: str) -> None:
    deadline = time.monotonic() + HELD_S_MAX
    if arrives(point):
        while _hold(point).exists() and time.monotonic() < deadline:
            time.sleep(POLL_S)


def _folder() -> Path:
    return Path(os.environ["HELD_FOLDER"])


def _hold(point: str) -> Path:
    return _folder() / f"hold {point}"


def edge() -> None:
    from contracts import job_log  # noqa: PLC0415  # each role imports its own
    from contracts.events import JobDeleted, JobSubmitted  # noqa: PLC0415
    from contracts.job import JobRequest  # noqa: PLC0415
    from contracts.tenant import Tenant  # noqa: PLC0415
    from contracts.tombstones import Tombstones  # noqa: PLC0415
    from contracts.wire import SubmissionHead  # noqa: PLC0415
    from services.edge import app, jobs  # noqa: PLC0415
    from services.edge.body.idempotency import Identity  # noqa: PLC0415
    from services.edge.job_ending import JobEnder  # noqa: PLC0415

    class HeldJobs(app.Jobs):
        async def store_input_and_enqueue(
            self,
            request: JobRequest,
            png: bytes | mmap,
            identity: Identity,
            tenant: Tenant,
            *,
            remixed_from: str | None,
        ) -> bool:
            await reach("request read")
            is_first = await super().store_input_and_enqueue(request, png, identity, tenant, remixed_from=remixed_from)
            await reach("not answered")
            return is_first

        async def _enqueue(self, submitted: JobSubmitted, tenant: Tenant, *, input_file: str) -> bool:
            await reach("input stored")
            return await super()._enqueue(submitted, tenant, input_file=input_file)

    class HeldTombstones(Tombstones):
        async def put(self, deleted: JobDeleted) -> None:
            await super().put(deleted)
            await reach("tombstone written")

    class HeldEnder(JobEnder):
        async def _remove_files(self, job_id: str, head: SubmissionHead | None) -> None:
            await reach("files not removed")
            await super()._remove_files(job_id, head)

    app.Jobs = HeldJobs
    job_log.Tombstones, jobs.JobEnder = HeldTombstones, HeldEnder
    runpy.run_module("services.edge", run_name="__main__")


def state() -> None:
    from contracts import subjects  # noqa: PLC0415
    from contracts.broker import Delivery  # noqa: PLC0415
    from services.state import materialise  # noqa: PLC0415

    class HeldProjection(materialise.Projection):
        async def apply(self, batch: Sequence[Delivery]) -> None:
            if any(subjects.is_ending(delivery.subject) for delivery in batch):
                await reach("not folded")
            await super().apply(batch)

    materialise.Projection = HeldProjection
    runpy.run_module("services.state", run_name="__main__")


def cluster() -> None:
    from contracts.events import AnyEnding, Ending, JobSucceeded  # noqa: PLC0415
    from contracts.job_ended import Known  # noqa: PLC0415
    from contracts.job_log import JobLog  # noqa: PLC0415
    from contracts.preview import Preview  # noqa: PLC0415
    from contracts.stage_times import Stage  # noqa: PLC0415
    from contracts.video_files import Variant  # noqa: PLC0415
    from inference import cluster, launch  # noqa: PLC0415
    from inference.leader import context, leader  # noqa: PLC0415
    from inference.leader.attempt import Attempt  # noqa: PLC0415
    from inference.leader.bridge import ThreadBridge  # noqa: PLC0415
    from inference.leader.completion import JobCompleter  # noqa: PLC0415
    from inference.leader.job_videos import JobVideos  # noqa: PLC0415
    from inference.leader.planner import AttemptPlanner, PreparedAttempt  # noqa: PLC0415
    from tests.kit.road import RANKS  # noqa: PLC0415

    class HeldLeader(leader.Leader):
        async def _pull_and_prepare(self, stop: asyncio.Event) -> Attempt | None:
            await reach("waiting")
            return await super()._pull_and_prepare(stop)

    class HeldPlanner(AttemptPlanner):
        async def prepare(self, job_id: str, data: bytes) -> PreparedAttempt:
            await reach("delivered")
            prepared = await super().prepare(job_id, data)
            await reach("input read")
            return prepared

    class HeldBridge(ThreadBridge):
        def report_boundary(self, stage: Stage, step: int) -> bool:
            leave = super().report_boundary(stage, step)
            if stage == "decode" or (stage, step) == ("denoise", STEP):
                reach_in_thread("decoding" if stage == "decode" else "denoising")
            return leave

    class HeldCompleter(JobCompleter):
        async def publish_ending(self, ending: Ending, known: Known | None = None) -> AnyEnding:
            if isinstance(ending, JobSucceeded):
                await reach("no ending")
            winner = await super().publish_ending(ending, known)
            await reach("not acknowledged")
            return winner

    class HeldVideos(JobVideos):
        async def put_pictures(self, job_id: str, pictures: Mapping[Variant, bytes], *, fresh: bool) -> None:
            await reach("no pictures")
            await super().put_pictures(job_id, pictures, fresh=fresh)

    class HeldLog(JobLog):
        async def show(self, preview: Preview) -> bool:
            await reach("previewing")
            return await super().show(preview)

    context.AttemptPlanner, context.JobCompleter = HeldPlanner, HeldCompleter
    context.JobVideos, context.JobLog = HeldVideos, HeldLog
    launch.Leader, launch.ThreadBridge = HeldLeader, HeldBridge
    cluster.prepare(RANKS)
    sys.exit(cluster.run(RANKS, launch.main))


def shift_the_clock(file: Path) -> None:
    """Have `time.time` go by that file, whenever it comes or changes."""
    true_time = time.time

    def shifted() -> float:
        try:
            return true_time() + float(file.read_text())
        except FileNotFoundError:
            return true_time()

    time.time = shifted


if __name__ == "__main__":
    role = sys.argv.pop()
    shift_the_clock(_folder() / f"clock {role}")
    {"edge": edge, "state": state, "cluster": cluster}[role]()
