"""The plan that a job gets in the memory of a cluster, and the words for a job that has none. Pure.

Called by `cluster`, on the edge at a submission and on rank 0 before an attempt.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from msgspec import UNSET, Struct
from msgspec.structs import replace

from contracts.fitting import Room, needed, plans
from contracts.job import AUTO, Generation, Job, JobRequest, parse_size, whole_frames
from contracts.memory import Phase, Work
from contracts.plan import Plan, usual_job_plan

GB = 1e9
DEFAULT_FRAMES = 81
FRAMES_MIN, FRAMES_STEP = 25, 4
SIZES_TRIED_MAX, SIZES_SHOWN_MAX = 8, 3
CHOICES = ("dit_fsdp", "t5_fsdp", "vae_parallel", "ulysses_size", "cfg_size")
"""Fields by which a job takes a choice from the cluster."""
WHEN: dict[Phase, str] = {
    "weights": "while the weights are gathered",
    "text": "while the prompt is encoded",
    "encode": "at the stage encode",
    "denoise": "at the stage denoise",
    "decode": "at the stage decode",
}


class Shortage(Struct, frozen=True):
    """A lack of memory for a job: the field that helps most, and words that are safe to show."""

    field: str
    message: str


def work_of(job: Generation, default_size: str) -> Work:
    """Return what decides the job's memory. `auto` counts as the default size, whose resolution it has."""
    size = default_size if job.image_size in (None, AUTO) else job.image_size
    width, height = parse_size(size or default_size)
    frames = whole_frames(job.num_frames) if isinstance(job, JobRequest | Job) else DEFAULT_FRAMES
    return Work(width=width, height=height, num_frames=frames, guided=job.guided, cached=job.use_attentioncache)


def plan_in_room(
    room: Room | None, job: Generation, own: Plan, *, default_size: str, world_size: int, heads: int
) -> Plan | None:
    """Return the plan for the job: the usual one, or the fastest that fits the room if that does not.

    If none fits, the one that needs least. None if the ranks cannot do what the job asks for.
    """
    usual = usual_job_plan(job, own, world_size, heads)
    if room is None or usual is None:
        return usual
    work = work_of(job, default_size)
    allowed = (usual, *_allowed(job, usual, world_size, heads))
    fitting = next((plan for plan in allowed if room.fits(work, plan)), None)
    return fitting or min(allowed, key=lambda plan: room.peaks(work, plan).bytes)


def shortage(
    room: Room, job: Generation, *, plan: Plan, own: Plan, default_size: str, sizes: Sequence[str]
) -> Shortage:
    """Return by how much the job is too large for the room by this plan, and which changes would make it fit."""
    peaks = room.peaks(work_of(job, default_size), plan)
    changes = list(_changes(room, job, own, default_size, sizes))
    helps = " or ".join(text for _, text in changes) or "a cluster of more or larger cards"
    message = (
        f"the job needs {needed(peaks) / GB:.1f} GB of each card {WHEN[peaks.worst]}, "
        f"which has {room.card_bytes / GB:.1f}; it would fit with {helps}"
    )
    field = changes[0][0] if changes else "image_size"
    return Shortage(field, message)


def _allowed(job: Generation, usual: Plan, world_size: int, heads: int) -> Iterator[Plan]:
    """Yield the plans that leave the job's own choices as they are, the fastest first."""
    chosen = {field: getattr(usual, field) for field in CHOICES if getattr(job, field) is not UNSET}
    degrees = {field for field in chosen if field.endswith("_size")}
    for plan in plans(world_size, heads, guided=job.guided):
        if all(getattr(plan, field) == chosen[field] for field in degrees):
            yield replace(plan, **chosen)


def _changes(
    room: Room, job: Generation, own: Plan, default_size: str, sizes: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Yield each single change by which the job would fit, as a field and in words."""

    def fits(changed: Generation) -> bool:
        ranks, heads = room.holding.ranks, room.shape.heads
        plan = plan_in_room(room, changed, own, default_size=default_size, world_size=ranks, heads=heads)
        return plan is not None and room.fits(work_of(changed, default_size), plan)

    taken = [field for field in CHOICES if getattr(job, field) is not UNSET]
    if taken and fits(replace(job, **dict.fromkeys(taken, UNSET))):
        yield taken[0], f"{', '.join(taken)} left to the cluster"
    if job.use_attentioncache and fits(replace(job, use_attentioncache=False)):
        yield "use_attentioncache", "use_attentioncache false"
    if isinstance(job, JobRequest | Job):
        counts = range(FRAMES_MIN, whole_frames(job.num_frames), FRAMES_STEP)
        fitting = bisect_left(counts, True, key=lambda frames: not fits(replace(job, num_frames=frames)))
        if fitting:
            yield "num_frames", f"num_frames up to {counts[fitting - 1]}"
    largest_first = sorted(sizes, key=lambda size: -math.prod(parse_size(size)))[:SIZES_TRIED_MAX]
    smaller = [size for size in largest_first if fits(replace(job, image_size=size))]
    if smaller:
        yield "image_size", f"image_size {', '.join(smaller[:SIZES_SHOWN_MAX])}"
