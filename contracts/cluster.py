"""The heartbeat in which a cluster describes itself, and the objections that follow: why it cannot run a job.

Rank 0 publishes the heartbeat. The edge asks for objections at submission, rank 0 before an attempt. Pure.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated

from msgspec import Meta, Struct

from contracts.bounds import Heads, Name, Ranks, UnixSeconds
from contracts.job import AUTO, Generation, ImageSize, nearest_size
from contracts.plan import Plan, at_fault, plan_for, ways

SIZES_MAX = 64
JOBS_IN_HAND_MAX = 16


class ClusterStatus(Struct, frozen=True, kw_only=True):
    """The heartbeat of a cluster. `sizes` are `"W*H"`; `heads` counts the attention heads; times are Unix seconds.

    `plan` runs a job with guidance that leaves every choice to the cluster. `weights` is the fingerprint of the model:
    clusters with different fingerprints make different pixels of the same job. It is empty in the heartbeat of an older
    cluster.
    """

    instance: Name
    name: Name
    device: Name
    world_size: Ranks
    model: Name
    sizes: Annotated[list[ImageSize], Meta(max_length=SIZES_MAX)]
    default_size: ImageSize
    heads: Heads
    plan: Plan
    current_jobs: Annotated[list[Name], Meta(max_length=JOBS_IN_HAND_MAX)]
    started_at: UnixSeconds
    at: UnixSeconds
    weights: Name = ""


class Objection(Struct, frozen=True):
    """A faulty field of a job and its allowed values, in words that are safe to show."""

    field: str
    message: str


def objections(job: Generation, clusters: Iterable[ClusterStatus]) -> list[Objection]:
    """Return an objection for each field of the job that at least one of these clusters cannot run.

    Empty if every cluster can run the job, or if there are none. If several object to a field, the last is quoted.
    """
    found: dict[str, Objection] = {}
    for cluster in clusters:
        if job.image_size not in (None, AUTO) and job.image_size not in cluster.sizes:
            sizes = ", ".join(cluster.sizes)
            found["image_size"] = Objection(
                "image_size", f"image_size was {job.image_size}; cluster {cluster.name} makes {sizes}"
            )
        for field in at_fault(job, cluster.world_size, cluster.heads):
            may_be = ways(cluster.world_size, cluster.heads, guided=job.guided)
            found[field] = Objection(field, f"{field} was {getattr(job, field)}; on cluster {cluster.name} {may_be}")
    return list(found.values())


def size_for_all(clusters: Sequence[ClusterStatus], image_width: int, image_height: int) -> str | None:
    """Return the size `"W*H"` that `auto` means for a picture of these pixels, whichever cluster takes the job.

    None if the clusters have no default size in common, or if there are none: the cluster that takes the job decides.
    """
    common = [size for size in clusters[0].sizes if all(size in other.sizes for other in clusters)] if clusters else []
    default = next((cluster.default_size for cluster in clusters if cluster.default_size in common), None)
    return None if default is None else nearest_size(common, default, image_width, image_height)


def plan_of(job: Generation, cluster: ClusterStatus) -> Plan | None:
    """Return the plan by which the cluster would run the job; None if it objects to the job's plan."""
    return plan_for(job, cluster.plan, cluster.world_size, cluster.heads)
