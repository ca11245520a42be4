"""Whole lives of jobs, published as edge and cluster would, without either. For tests of what follows from a log."""

from msgspec.structs import replace

from contracts import subjects, wire
from contracts.broker import Bus
from contracts.events import Event
from contracts.job_log import JobLog
from tests.kit.builders import cancelled, failed, released, started, submitted, succeeded


async def submit(link: Bus, job_id: str) -> None:
    """Put a job into the queue; the broker copies it into the log."""
    event = replace(submitted(), job_id=job_id)
    await link.publish(subjects.job(job_id), wire.encode(event), message_id=job_id, within_s=10)


async def start(link: Bus, job_id: str, attempt: int = 1, model: str | None = "tiny") -> None:
    await append(link, replace(started(attempt, 1.0), job_id=job_id, model=model))


async def release(link: Bus, job_id: str, attempt: int = 1) -> None:
    await append(link, replace(released(attempt, 1.0), job_id=job_id))


async def end(link: Bus, job_id: str, how: str = "succeeded") -> None:
    """End a job by its ending's name, and take it from the queue."""
    ending = {"succeeded": succeeded(1, 2.0), "failed": failed(1, 2.0), "cancelled": cancelled(2.0)}[how]
    await append(link, replace(ending, job_id=job_id))
    queue = JobLog(link, "test").queue
    if (queued := await queue.find(job_id)) is not None:
        await queue.remove(queued)


async def append(link: Bus, event: Event) -> None:
    await link.publish(subjects.event(event), wire.encode(event), within_s=10)


def name(number: int) -> str:
    """Return the id of the job with this number."""
    return f"{number:032x}"
