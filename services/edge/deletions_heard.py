"""Hear of the jobs that other edges delete, so that this edge remembers nothing of them. `app` opens it.

A message that is missed costs `job_status.ENDED_KEPT_S`: so long may an edge show how a job ended without a look. A
message proves nothing, since anybody can send one: it has the edge ask again.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from contracts import subjects
from contracts.broker import Bus
from contracts.process import lifetime


@asynccontextmanager
async def hearing_deletions(broker: Bus, forget: Callable[[str], None]) -> AsyncGenerator[None, None]:
    """Have `forget` called with the id of each job that is deleted, from the first connection on, during the block."""

    async def on_deleted(subject: str, _: bytes) -> None:
        forget(subjects.job_id_of(subject))

    async with lifetime.beside(lambda _: broker.listen_once_connected(subjects.LIVE_DELETIONS, on_deleted)):
        yield
