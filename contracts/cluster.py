"""The heartbeat in which a cluster describes itself, and the objections that follow: why it cannot run a job.

Rank 0 publishes the heartbeat. The edge asks for objections at submission, rank 0 before an attempt. Pure.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated

from msgspec import UNSET, Meta, Struct

from contracts.bounds import Heads, Name, Ranks, Seconds, UnixSeconds
from contracts.fitting import Room, needed
from contracts.job import AUTO, Generation, ImageSize, nearest_size
from contracts.labels import DEFAULT_MODEL
from contracts.plan import Plan, impossible_degrees, possible_degrees_in_words
from contracts.stage_times import PACES_MAX, MeasuredPace
from contracts.too_large import plan_in_room, shortage, work_of

SIZES_MAX = 64
JOBS_IN_HAND_MAX = 16


class ClusterStatus(Struct, frozen=True, kw_only=True):
    """The heartbeat of a cluster. `sizes` are `"W*H"`; `heads` counts the attention heads; times are Unix seconds.

    `plan` runs a job with guidance that leaves every choice to the cluster. `weights` is the fingerprint of the model:
    clusters with different fingerprints make different pixels of the same job. It is empty in the heartbeat of an older
    cluster. `room` is the memory of its cards; None on a CPU, and in the heartbeat of an older cluster.

    `jobs_left_s` are the seconds from `at` until each of `current_jobs` is done, in their order, and `free_in_s` those
    until the ranks are free of all of them; None if unknown. `paces` are the measured ones. All are empty in the
    heartbeat of an older cluster.
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
    room: Room | None = None
    jobs_left_s: Annotated[list[Seconds | None], Meta(max_length=JOBS_IN_HAND_MAX)] = []
    free_in_s: Seconds | None = None
    paces: Annotated[list[MeasuredPace], Meta(max_length=PACES_MAX)] = []


class Objection(Struct, frozen=True):
    """A faulty field of a job and its allowed values, in words that are safe to show."""

    field: str
    message: str


def objections(job: Generation, clusters: Iterable[ClusterStatus]) -> list[Objection]:
    """Return an objection for each field of the job that at least one of these clusters cannot run.

    Empty if every cluster can run the job, or if there are none. If several object to a field, the last is quoted.
    Memory is an objection only if no cluster has enough.
    """
    clusters = list(clusters)
    found: dict[str, Objection] = {}
    for cluster in clusters:
        if job.model not in (UNSET, DEFAULT_MODEL, cluster.model):
            found["model"] = Objection(
                "model", f"model was {job.model}; cluster {cluster.name} serves {cluster.model}, or {DEFAULT_MODEL}"
            )
        if job.image_size not in (None, AUTO) and job.image_size not in cluster.sizes:
            sizes = ", ".join(cluster.sizes)
            found["image_size"] = Objection(
                "image_size", f"image_size was {job.image_size}; cluster {cluster.name} makes {sizes}"
            )
        for field in impossible_degrees(job, cluster.world_size, cluster.heads):
            may_be = possible_degrees_in_words(cluster.world_size, cluster.heads, guided=job.guided)
            found[field] = Objection(field, f"{field} was {getattr(job, field)}; on cluster {cluster.name} {may_be}")
    if not found and (too_large := _too_large(job, clusters)) is not None:
        return [too_large]
    return list(found.values())


def auto_size_for_all(clusters: Sequence[ClusterStatus], image_width: int, image_height: int) -> str | None:
    """Return the size `"W*H"` that `auto` means for a picture of these pixels, whichever cluster takes the job.

    None if the clusters have no default size in common, or if there are none: the cluster that takes the job decides.
    """
    common = [size for size in clusters[0].sizes if all(size in other.sizes for other in clusters)] if clusters else []
    default = next((cluster.default_size for cluster in clusters if cluster.default_size in common), None)
    return None if default is None else nearest_size(common, default, image_width, image_height)


def plan_on_cluster(job: Generation, cluster: ClusterStatus) -> Plan | None:
    """Return the plan by which the cluster would run the job; None if it objects to the job's plan.

    If the usual plan does not fit the cards, the fastest that fits and that the job's fields allow is taken.
    """
    return plan_in_room(
        cluster.room,
        job,
        cluster.plan,
        default_size=cluster.default_size,
        world_size=cluster.world_size,
        heads=cluster.heads,
    )


def _too_large(job: Generation, clusters: Sequence[ClusterStatus]) -> Objection | None:
    """Return an objection if the job fits the cards of none of the clusters, in the numbers of the one that is nearest.

    A cluster that says nothing of its memory may have enough.
    """
    nearest: tuple[int, ClusterStatus, Room, Plan] | None = None
    for cluster in clusters:
        plan, room, work = plan_on_cluster(job, cluster), cluster.room, work_of(job, cluster.default_size)
        if plan is None or room is None or room.fits(work, plan):
            return None
        missing = needed(room.peaks(work, plan)) - room.card_bytes
        if nearest is None or missing < nearest[0]:
            nearest = missing, cluster, room, plan
    if nearest is None:
        return None
    _, cluster, room, plan = nearest
    short = shortage(room, job, plan=plan, own=cluster.plan, default_size=cluster.default_size, sizes=cluster.sizes)
    return Objection(short.field, f"cluster {cluster.name}: {short.message}")
