"""A trial: one fault at one moment of a job's life, and how to have it happen there. It fails by `AssertionError`."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from tests.chaos.faults import checker
from tests.chaos.faults.service import Service, Submitted
from tests.kit.waiting import eventually


@dataclass(frozen=True)
class Trial:
    fault: str
    phase: str
    run: Callable[[Service], Awaitable[float]]
    """Seconds from the end of the fault until work went on."""


class Reference:
    """The SHA-256 of the video that a job has which nothing happens to."""

    made: str | None = None


def key() -> Submitted:
    return Submitted(uuid.uuid4().hex)


async def undisturbed(service: Service) -> str:
    job_id = await service.submit(key())
    await checker.check(service, job_id, made=Reference.made)
    return job_id


async def in_phase(
    service: Service,
    phase: str,
    fault: Callable[[Callable[[], None]], Awaitable[None]],
    *,
    endings: Sequence[str] = ("Succeed",),
    same: bool = True,
) -> float:
    """Have it happen to a job at that moment. `fault` is given what lets the held process go on, and calls it once."""
    service.hold(phase)
    submitted = key()
    async with asyncio.TaskGroup() as tasks:
        client = tasks.create_task(service.submit(submitted))
        try:
            await service.reached(phase)
            await fault(lambda: service.release(phase))
        finally:
            service.release(phase)
        over = time.time()
        job_id = await client
    await went_on(service, job_id, over)
    took_s = time.time() - over
    await checker.check(service, job_id, made=Reference.made if same else None, endings=endings)
    await service.at_rest()
    return took_s


async def went_on(service: Service, job_id: str, since: float) -> None:
    """The log says something new of the job, or its status is an ending."""

    async def moved() -> bool:
        status = await service.status(job_id)
        return status is not None and (status.ended or status.updated_at > since)

    await eventually(moved, within_s=120)
