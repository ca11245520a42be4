"""Stands in for clusters: pulls jobs from the real queue and publishes what a cluster would.

`python -m ops.bench.service.standin URL` with a `Crew` on its standard input, for `trace`. There is no torch and there
are no pictures: a job takes as long as drawn for it. Each stand-in has a connection of its own; all of them share this
process, which prints what they did as JSON (`Served`).
"""

import asyncio
import sys
import time

import msgspec
import uvloop
from msgspec import Struct

from contracts import subjects, wire
from contracts.broker import Bus, bus
from contracts.job_log import JobLog
from contracts.stage_times import STAGES
from ops.bench.service.events import stage_started, started, succeeded


class Crew(Struct, frozen=True):
    """The stand-ins: `clusters` of them serve `jobs` jobs; the n-th job, by its seed, takes `seconds[n]`."""

    clusters: int
    jobs: int
    seconds: list[float]


class Job(Struct, frozen=True):
    """A served job: its number in the trace, who served it, and when, in Unix seconds."""

    number: int
    cluster: int
    queued_at: float
    started_at: float
    ended_at: float


class Served(Struct, frozen=True):
    """The jobs that were served, in the order of their ends."""

    jobs: list[Job]


async def serve(url: str, crew: Crew) -> Served:
    """Serve the jobs of a crew and return who served which. Raises what the broker raises."""
    served: list[Job] = []
    stop = asyncio.Event()

    async def cluster(number: int) -> None:
        async with bus.connect(url, name="bench") as broker:
            job_log = JobLog(broker, publisher=f"bench-{number}")
            while not stop.is_set():
                if (job := await _next(broker, job_log, crew, number, stop)) is not None:
                    served.append(job)
                if len(served) >= crew.jobs:
                    stop.set()

    async with asyncio.TaskGroup() as tasks:
        for number in range(crew.clusters):
            tasks.create_task(cluster(number))
    return Served(served)


async def _next(broker: Bus, job_log: JobLog, crew: Crew, cluster: int, stop: asyncio.Event) -> Job | None:
    """Pull a job, take its time over it, and return it; None if none came before `stop`."""
    delivery = await broker.pull(subjects.JOBS_STREAM, subjects.INFERENCE_DURABLE, stop=stop)
    if delivery is None:
        return None
    submitted = wire.decode_submission(delivery.data)
    started_at, name, instance = time.time(), submitted.job_id, f"bench-{cluster}"
    await job_log.append(started(name, instance=instance, at=started_at))
    ends_at = time.monotonic() + crew.seconds[submitted.job.seed]
    for at, stage in enumerate(STAGES):
        await job_log.append(stage_started(name, stage, progress=at / len(STAGES)))
    await asyncio.sleep(max(0.0, ends_at - time.monotonic()))
    await job_log.publish_ending(succeeded(name, instance=instance, at=time.time(), seed=submitted.job.seed))
    await delivery.acknowledge()
    return Job(submitted.job.seed, cluster, submitted.created_at, started_at, time.time())


if __name__ == "__main__":
    crew = msgspec.json.decode(sys.stdin.buffer.read(), type=Crew)
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(serve(sys.argv[1], crew))))
