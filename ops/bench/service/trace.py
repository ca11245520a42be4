"""Runs a trace of jobs through the real queue: real broker, real messages, stand-in clusters. For `scale`, `capacity`.

Jobs are put into the queue at the moments of the trace, by the code that the edge uses. What comes back is who served
which job, and when.
"""

import asyncio
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from contracts.broker import Bus
from contracts.events import JobSubmitted
from contracts.job_queue import JobQueue
from ops.bench.service.events import JOB
from ops.bench.service.queueing import cv2, ideal_waits_s, mean_wait_s
from ops.bench.service.stack import Service
from ops.bench.service.standin import Crew, Served
from ops.local.paths import REPOSITORY

PUBLISH_WITHIN_S = 30.0
SERVED_WITHIN_S = 1800.0
IN_FLIGHT_MAX = 64
"""How many jobs without an arrival time are being published at once."""


class Trace(Struct, frozen=True):
    """Jobs by their numbers: the moment of each arrival, all 0 for jobs that wait already, and its service; seconds."""

    arrivals: list[float]
    services: list[float]


class Waits(Struct, frozen=True):
    """The mean seconds of waiting: in the real queue, in an ideal queue of the same trace, and by the formula."""

    measured_s: float
    ideal_s: float
    formula_s: float
    utilisation: float


def poisson(jobs: int, per_s: float, services: Sequence[float], *, seed: int) -> Trace:
    """Return a trace of Poisson arrivals; each service is drawn from `services`."""
    draw = random.Random(seed)
    moment, arrivals = 0.0, list[float]()
    for _ in range(jobs):
        moment += draw.expovariate(per_s)
        arrivals.append(moment)
    return Trace(arrivals, [draw.choice(services) for _ in range(jobs)])


def run(service: Service, trace: Trace, clusters: int) -> Served:
    """Return what the stand-ins did with the trace. Raises `subprocess.CalledProcessError`, or if it takes too long."""
    crew = Crew(clusters, len(trace.arrivals), trace.services)
    command = [sys.executable, "-m", "ops.bench.service.standin", service.nats_url]
    queued = not any(trace.arrivals)
    if queued:
        service.ask(lambda bus: _arrive(bus, trace))
    with subprocess.Popen(
        ["taskset", "-c", service.cores.rest, *command], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as standins:
        assert standins.stdin is not None
        standins.stdin.write(msgspec.json.encode(crew))
        standins.stdin.close()
        standins.stdin = None
        try:
            if not queued:
                service.ask(lambda bus: _arrive(bus, trace))
            text, _ = standins.communicate(timeout=SERVED_WITHIN_S)
        except BaseException:
            standins.kill()
            raise
    return msgspec.json.decode(text, type=Served)


async def _arrive(bus: Bus, trace: Trace) -> None:
    """Put each job into the queue at its moment."""
    loop = asyncio.get_running_loop()
    began, queue = loop.time(), JobQueue(bus)
    room = asyncio.Semaphore(IN_FLIGHT_MAX)
    run_id = random.SystemRandom().getrandbits(64)

    async def put(number: int) -> None:
        async with room:
            job = replace(JOB, seed=number)
            submitted = JobSubmitted(job_id=f"{run_id:016x}{number:016x}", created_at=time.time(), job=job)
            await queue.add(submitted, within_s=PUBLISH_WITHIN_S)

    async with asyncio.TaskGroup() as tasks:
        for number, moment in enumerate(trace.arrivals):
            await asyncio.sleep(max(0.0, began + moment - loop.time()))
            tasks.create_task(put(number))


def waits_of(served: Served, clusters: int, per_s: float) -> Waits:
    """Return the waits of a trace that was served.

    The formula is given the rate `per_s` of the Poisson arrivals. The services that it and the ideal queue are given
    are the measured ones, which hold the broker's round trips too; the arrivals of the ideal queue are those at which
    the jobs were put into the real one. The formula's wait is infinite if the clusters could not keep up.
    """
    jobs = sorted(served.jobs, key=lambda job: job.queued_at)
    arrivals = [job.queued_at - jobs[0].queued_at for job in jobs]
    services = [job.ended_at - job.started_at for job in jobs]
    mean_s = sum(services) / len(services)
    return Waits(
        measured_s=sum(job.started_at - job.queued_at for job in jobs) / len(jobs),
        ideal_s=sum(ideal_waits_s(clusters, arrivals, services)) / len(jobs),
        formula_s=mean_wait_s(clusters, per_s, mean_s, service_cv2=cv2(services)),
        utilisation=per_s * mean_s / clusters,
    )


def per_minute(served: Served) -> float:
    """Return the jobs that were served a minute, from the first start to the last end."""
    took_s = max(job.ended_at for job in served.jobs) - min(job.started_at for job in served.jobs)
    return 60 * len(served.jobs) / took_s


def fairness(served: Served, clusters: int) -> float:
    """Return the least number of jobs that one of the clusters served over the greatest."""
    counts = Counter(job.cluster for job in served.jobs)
    return min(counts[cluster] for cluster in range(clusters)) / max(counts.values())
