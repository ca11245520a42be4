"""Describe a cluster and its jobs for who asks by `nats service`. `Leader` announces it."""

from collections.abc import Callable, Iterable, Mapping

from contracts.broker import Service
from contracts.cluster import ClusterStatus
from inference.leader.attempt import Attempt

PROGRESS_DIGITS = 4


def service_of(cluster: ClusterStatus, attempts: Callable[[], Iterable[Attempt]], ended: Mapping[str, int]) -> Service:
    """Return the cluster as the CLI of NATS is to show it.

    `attempts` returns those in flight; `ended` counts the events by which this cluster has ended an attempt, by kind.
    """
    return Service(
        name="cluster",
        description="WanJet's cluster: makes the videos of one job after the other",
        metadata={
            "instance": cluster.instance,
            "cluster": cluster.name,
            "device": cluster.device,
            "world_size": str(cluster.world_size),
            "model": cluster.model,
        },
        figures=lambda: {"jobs": [_shown(attempt) for attempt in attempts()], "ended": dict(ended)},
    )


def _shown(attempt: Attempt) -> dict[str, object]:
    """Return the figures of an attempt in flight; its stage is null until it has had its turn at the ranks."""
    return {
        "job_id": attempt.job_id,
        "attempt": attempt.number,
        "stage": attempt.progress.stage if attempt.begun else None,
        "progress": round(attempt.progress.value, PROGRESS_DIGITS),
    }
