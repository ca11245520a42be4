"""What tests need that do harm: a road whose ranks have faults built in, and what to look at afterwards."""

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from contracts import subjects
from contracts.broker import Bus
from contracts.status import ENDED
from tests.flow.faulty_rank import SLOW_FILE, Fault
from tests.kit.edge import post
from tests.kit.process import Process
from tests.kit.road import RANKS, Road
from tests.kit.waiting import eventually

ACK_WAIT_S = 3
FAULT_S = 3.0 * ACK_WAIT_S
WITHIN_S = 180.0


SLOW = {"seed": Fault.SLOW_STEPS, "infer_steps": 40}
"""Fields of a job whose 40 steps take 12 seconds inside `slow`, and no CPU time worth mentioning outside."""


@contextmanager
def slow(road: Road) -> Generator[None, None, None]:
    """Have the jobs be slow that ask for it by their seeds: they can be interrupted, however quick the machine is."""
    file = road.folder / SLOW_FILE
    file.touch()
    try:
        yield
    finally:
        file.unlink()


@contextmanager
def faulty_road(folder: Path) -> Generator[Road, None, None]:
    """A road whose cluster has the faults that jobs ask for by their seeds."""
    road = Road(folder)
    road.cluster = faulty(road)
    with road.running(MAX_CONCURRENT_TASKS="25", ACK_WAIT=str(ACK_WAIT_S)):
        yield road


def faulty(road: Road, **variables: str) -> Process:
    return road.new_cluster("tests.flow.faulty_rank", FAULT_SECONDS=str(FAULT_S), MAX_ATTEMPTS="2", **variables)


@asynccontextmanager
async def kept(road: Road) -> AsyncGenerator[list[str], None]:
    """A supervisor for the cluster, as in production; yields a list which then has an entry for each start anew."""
    restarts: list[str] = []
    over = asyncio.Event()
    before = groups_started_again(road.cluster)

    async def keep() -> None:
        while not over.is_set():
            if not road.cluster.alive:
                restarts.append("process")
                road.cluster.start()
            await asyncio.sleep(0.1)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(keep())
        yield restarts
        over.set()
    restarts += ["group"] * (groups_started_again(road.cluster) - before)


def groups_started_again(cluster: Process) -> int:
    return sum(line.get("event") == "group_starts_again" for line in cluster.lines)


async def cancel(road: Road, client: aiohttp.ClientSession, job_id: str) -> tuple[int, Any]:
    return await post(client, f"{road.edge.url}/video/cancel", {"requestId": job_id})


async def log_of(link: Bus, job_id: str) -> list[str]:
    """The kinds of the job's events, without steps, stages and what is reported within them."""
    log = await link.read(subjects.EVENTS_STREAM, subjects.events_of(job_id))
    kinds = [event.subject.split(".", 3)[3] for event in log]
    return [kind for kind in kinds if kind not in ("step", "stage", "progress")]


async def at_stage(road: Road, client: aiohttp.ClientSession, job_id: str, stage: str) -> None:
    """Return at that stage, or where the job has ended: it may be too quick to be seen there."""

    async def there() -> bool:
        status = await road.status(client, job_id)
        return status["stage"] == stage or status["status"] in ENDED

    await eventually(there, within_s=WITHIN_S)


async def is_queued(link: Bus, job_id: str) -> bool:
    return await link.last(subjects.JOBS_STREAM, subjects.job_in_any_lane(job_id)) is not None


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [pid, *(each for child in children for each in family(child))]


def ranks_of(cluster: Process) -> list[int]:
    """The pids of the ranks, which are the children of torchrun's agent, the cluster's only one."""
    _, _, *ranks = family(cluster.pid)
    assert len(ranks) == RANKS
    return ranks
