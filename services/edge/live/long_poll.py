"""Answer a request for a status once the status changes (long polling): `GET /video/status/{id}?wait=30`.

A change is a change of any field but those of `RESTLESS`, by which nothing new is said.
"""

import asyncio
from typing import Any

import msgspec
from litestar.types import Receive
from msgspec.structs import replace

from contracts.fold import fold
from contracts.status import JobStatus
from services.edge.jobs import Jobs
from services.edge.live.hub import Hub
from services.edge.live.reader import EVENTS_MAX, leaving_with
from services.edge.live.shown import LiveEvent

RESTLESS = ("updated_at", "eta_seconds")


async def changed_status(jobs: Jobs, hub: Hub, job_id: str, wait_s: float, receive: Receive) -> JobStatus:
    """Return the status of a job once it differs from the one that it has now, or as it is after `wait_s`.

    Returns at once if the job has ended, and early if the client leaves, as `receive` tells, or the edge is stopping.
    Raises as `Jobs.status` does, and `Overloaded` at the limit of readers.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + wait_s
    async with hub.joined(job_id, hears_moves=True) as reader, leaving_with(receive, reader):
        before = now = await jobs.status(job_id)
        heard: list[LiveEvent] = []
        while not (now.ended or reader.must_leave or reader.fell_behind or _told(now) != _told(before)):
            events = await reader.take(within_s=max(0.0, until - loop.time()))
            is_over = loop.time() >= until
            if events or is_over or now.status == "InQueue":
                heard = [*heard, *events][-EVENTS_MAX:]
                now = _after(await jobs.status(job_id), heard)
            if is_over:
                break
    return now


def _after(status: JobStatus, heard: list[LiveEvent]) -> JobStatus:
    """Return a status after events that the state service may not have got to. An ending is in the status itself."""
    for each in heard:
        if each.event is not None and not each.ends:
            status = fold(status, each.event)
    return status if status.status == "InQueue" else replace(status, queue_position=None)


def _told(status: JobStatus) -> dict[str, Any]:
    """Return the fields of a status whose change is told."""
    return {name: value for name, value in msgspec.structs.asdict(status).items() if name not in RESTLESS}
