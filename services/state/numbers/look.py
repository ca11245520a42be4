"""Ask the broker how the whole service stands: queue, clusters, streams. `service` does so at each scrape."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

import nats.errors
import nats.js.errors
from msgspec import Struct
from nats.js.api import ConsumerInfo, StreamInfo

from contracts import inventory, subjects
from contracts.broker import Bus, Unavailable
from contracts.cluster import ClusterStatus
from contracts.live_clusters import live_clusters

LOOK_WITHIN_S = 4.0
"""Less than Prometheus waits for an answer."""
STREAMS = tuple(inventory.STREAMS)

T = TypeVar("T")


class Seen(Struct, frozen=True, kw_only=True):
    """State of the service at one time. `oldest_s` is the age of the oldest waiting job, 0 without one.

    `storage` are the bytes that the account's streams take on disk, and how many they may take (-1 for no limit that
    the account has); None if the broker does not say. `set_aside` counts the events that could not be read.
    """

    queue: StreamInfo
    inference: ConsumerInfo
    state: ConsumerInfo
    oldest_s: float
    clusters: list[ClusterStatus]
    streams: dict[str, StreamInfo]
    set_aside: int
    storage: tuple[int, int] | None


async def look(broker: Bus) -> Seen:
    """Return how the service stands now. Raises `Unavailable`, also if a stream or durable is missing."""
    if not broker.connected:
        raise Unavailable("no connection")
    try:
        async with asyncio.timeout(LOOK_WITHIN_S):
            return await _look(broker)
    except* (Unavailable, TimeoutError, nats.js.errors.APIError) as error:
        raise Unavailable(repr(error.exceptions[0])) from error


async def _look(broker: Bus) -> Seen:
    """Ask all questions at once, and then the one that depends on an answer. Raises groups of what asking raises."""
    async with asyncio.TaskGroup() as tasks:

        def ask(question: Awaitable[T]) -> asyncio.Task[T]:
            return tasks.create_task(_of(question))

        streams = {name: ask(broker.stream(name)) for name in STREAMS}
        inference = ask(broker.consumer(subjects.JOBS_STREAM, subjects.INFERENCE_DURABLE))
        state = ask(broker.consumer(subjects.EVENTS_STREAM, subjects.STATE_DURABLE))
        clusters = ask(live_clusters(broker))
        set_aside = ask(broker.count(subjects.COUNTERS_BUCKET, subjects.EVENTS_SET_ASIDE))
        storage = ask(_storage(broker))
    infos = {name: info.result() for name, info in streams.items()}
    return Seen(
        queue=infos[subjects.JOBS_STREAM],
        inference=inference.result(),
        state=state.result(),
        oldest_s=await _oldest_s(broker, inference.result()),
        clusters=clusters.result(),
        streams=infos,
        set_aside=set_aside.result(),
        storage=storage.result(),
    )


async def _of(question: Awaitable[T]) -> T:
    return await question


async def _oldest_s(broker: Bus, inference: ConsumerInfo) -> float:
    """Return the age of the oldest job that no cluster has been given, by the broker's clock; 0 without one."""
    if not inference.num_pending:
        return 0.0
    given = 0 if inference.delivered is None else inference.delivered.stream_seq
    oldest = await broker.first_after(subjects.JOBS_STREAM, given)
    return 0.0 if oldest is None else max(0.0, await broker.now() - oldest.at)


async def _storage(broker: Bus) -> tuple[int, int] | None:
    """Return the bytes of the account on disk, and its limit; None if this user may not ask."""
    try:
        account = await broker.admin.account_info()
    except (nats.errors.Error, nats.js.errors.Error, TimeoutError, OSError):
        return None
    return account.storage, account.limits.max_storage
