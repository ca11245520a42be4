"""The cluster's heartbeat: its status, put into the bucket of clusters at intervals. `Leader` runs it beside the jobs.

The edge reads the bucket: it lists the clusters, refuses jobs that one of them cannot run, and estimates when waiting
jobs are done.
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
from inference.leader.attempt import Attempt
from inference.leader.pace import Pace
from inference.leader.progress import rounded_s

HEARTBEAT_S = 2.0
REMOVED_WITHIN_S = 2.0


async def publish_heartbeats(
    broker: Bus, cluster: ClusterStatus, attempts: Callable[[], Iterable[Attempt]], pace: Pace, stop: asyncio.Event
) -> None:
    """Put the cluster's status, with the time and its load, into the bucket every `HEARTBEAT_S` until `stop`.

    Then remove it. A heartbeat that the broker does not take before the next one is due is lost. So is the removal
    after `REMOVED_WITHIN_S`: the end of the process does not wait for a broker that is away, and the bucket forgets an
    old status by itself.
    """
    while not stop.is_set():
        beat = replace(with_load(cluster, attempts(), pace), at=time.time())
        with suppress(Unavailable):
            await broker.put_last(subjects.CLUSTERS_BUCKET, cluster.instance, wire.encode(beat), within_s=HEARTBEAT_S)
        await lifetime.wait_until_set(stop, within_s=HEARTBEAT_S)
    with suppress(Unavailable):
        await broker.put_last(subjects.CLUSTERS_BUCKET, cluster.instance, b"", within_s=REMOVED_WITHIN_S)


def with_load(cluster: ClusterStatus, attempts: Iterable[Attempt], pace: Pace) -> ClusterStatus:
    """Return the status with the jobs in flight, in the order in which they came, and how long they still take."""
    attempts, free_in_s = list(attempts), 0.0
    left: list[float | None] = []
    for attempt in attempts:
        on_ranks_s, whole_s = attempt.left_s(on_ranks=True), attempt.left_s()
        waits_s = 0.0 if attempt.begun else free_in_s
        left.append(None if whole_s is None else rounded_s(waits_s + whole_s))
        free_in_s = max(free_in_s, waits_s + (on_ranks_s or 0.0))
    return replace(
        cluster,
        current_jobs=[attempt.job_id for attempt in attempts],
        jobs_left_s=left,
        free_in_s=None if None in left else rounded_s(free_in_s),
        paces=pace.measured(),
    )
