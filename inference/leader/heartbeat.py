"""The cluster's heartbeat: its status, put into the bucket of clusters at intervals. `Leader` runs it beside the jobs.

The edge reads the bucket: it lists the clusters, and refuses jobs that one of them cannot run.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from msgspec.structs import replace

from contracts import subjects, wire
from contracts.broker import Bus, Unavailable
from contracts.cluster import ClusterStatus
from contracts.process import lifetime

HEARTBEAT_S = 2.0


async def publish_heartbeats(
    broker: Bus, cluster: ClusterStatus, job_ids: Callable[[], Iterable[str]], stop: asyncio.Event
) -> None:
    """Put the cluster's status, with the time and `job_ids()`, into the bucket every `HEARTBEAT_S` until `stop`.

    Then remove it. A heartbeat that the broker does not take is lost, and so is the removal.
    """
    while not stop.is_set():
        beat = replace(cluster, at=time.time(), current_jobs=list(job_ids()))
        with suppress(Unavailable):
            await broker.put_last(subjects.CLUSTERS_BUCKET, cluster.instance, wire.encode(beat))
        await lifetime.wait(stop, within_s=HEARTBEAT_S)
    with suppress(Unavailable):
        await broker.put_last(subjects.CLUSTERS_BUCKET, cluster.instance, b"")
