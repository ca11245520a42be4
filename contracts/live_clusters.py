"""Read the heartbeats of all live clusters. The edge asks before it takes a job, rank 0 before it gives one up."""

from contracts import subjects, wire
from contracts.broker import Bus
from contracts.cluster import ClusterStatus
from contracts.process import log


async def live_clusters(broker: Bus) -> list[ClusterStatus]:
    """Return the clusters whose heartbeat has not expired. One that cannot be read is logged and left out.

    Raises `Unavailable`.
    """
    found: list[ClusterStatus] = []
    for beat in await broker.values(subjects.CLUSTERS_BUCKET):
        try:
            found.append(wire.decode_cluster(beat))
        except wire.Undecodable as error:
            log.get().error("heartbeat_unreadable", error=str(error))
    return found
