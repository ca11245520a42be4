"""An edge, or a cluster's rank 0, that kills itself in the middle of a job that has a slot.

`python -m tests.services.edge.dying ACT METHOD TIME JOB_ID URL VIDEOS SCRATCH`: does ACT, and dies right before it
calls METHOD of the broker for the TIMEth time.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from contracts import subjects
from contracts.broker import Bus, Delivery, bus
from contracts.job import JobRequest
from contracts.job_log import JobLog
from contracts.stores import Folder
from contracts.tenant import Tenant
from services.edge.body.idempotency import Identity
from services.edge.jobs import Jobs


async def submit(jobs: Jobs, job_id: str) -> None:
    request = JobRequest(prompt="a small boat at sea", image_url="x")
    await jobs.store_input_and_enqueue(request, b"png", Identity(job_id, None), Tenant("one", 3), remixed_from=None)


async def fail(link: Bus, job_id: str, scratch: Folder) -> None:
    """End the job as rank 0 does."""
    from inference.leader.completion import JobCompleter  # noqa: PLC0415  # torch takes seconds
    from inference.leader.job_checkpoints import JobCheckpoints  # noqa: PLC0415
    from tests.contracts.test_plan import cluster  # noqa: PLC0415

    checkpoints = JobCheckpoints(scratch, "tiny")
    log, this = JobLog(link, "rank 0"), cluster("i", 1)
    completer = JobCompleter(log, videos=scratch, scratch=scratch, checkpoints=checkpoints, cluster=this)
    await completer.fail(await pulled(link, job_id), job_id, 0, "no room")


async def pulled(link: Bus, job_id: str) -> Delivery:
    stop = asyncio.Event()
    while True:
        delivery = await link.pull(subjects.JOBS_STREAM, subjects.INFERENCE_DURABLE, stop=stop)
        assert delivery is not None
        if subjects.job_id_of(delivery.subject) == job_id:
            return delivery


def die_before(method: str, time: int) -> None:
    call, left = getattr(Bus, method), time

    async def call_or_die(self: Bus, *arguments: Any, **named: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return await call(self, *arguments, **named)

    setattr(Bus, method, call_or_die)


async def main() -> None:
    act, method, time, job_id, url, videos, scratch = sys.argv[1:]
    async with bus.connect(url, name="dying") as link:
        store = Folder(Path(scratch))
        jobs = Jobs(link, Folder(Path(videos)), store, retention_s=60)
        die_before(method, int(time))
        await submit(jobs, job_id)
        await (jobs.cancel(job_id) if act == "cancel" else fail(link, job_id, store))


if __name__ == "__main__":
    asyncio.run(main())
