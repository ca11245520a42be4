"""What a cluster says of itself, and what it cannot run. The edge asks at submission, rank 0 before it starts."""

from collections.abc import Iterable

from msgspec import UNSET, Struct

from contracts.job import Generation


class ClusterStatus(Struct, frozen=True, kw_only=True):
    """One heartbeat. `sizes` are `"W*H"`; `heads` are the model's attention heads; times are Unix seconds."""

    instance: str
    name: str
    device: str
    world_size: int
    model: str
    sizes: list[str]
    default_size: str
    heads: int
    ulysses_size: int
    current_jobs: list[str]
    started_at: float
    at: float


class Objection(Struct, frozen=True):
    """One faulty field and what it may be, in words that are safe to show."""

    field: str
    message: str


NOT_YET = {
    "cfg_size": 1,
    "dit_fsdp": False,
    "t5_fsdp": False,
    "vae_parallel": False,
    "use_attentioncache": False,
}
"""Fields that no cluster honours yet, with the only value that asks for nothing."""


def unsupported(job: Generation) -> list[Objection]:
    """Refused by name rather than accepted and ignored."""
    return [
        Objection(field, f"{field} is not supported yet; leave it out")
        for field, nothing in NOT_YET.items()
        if getattr(job, field) not in (UNSET, nothing)
    ]


def objections(job: Generation, clusters: Iterable[ClusterStatus]) -> list[Objection]:
    """Why some of these clusters could not run the job. None of them: none, the job may wait for one."""
    found: dict[str, Objection] = {}
    for cluster in clusters:
        if job.image_size is not None and job.image_size not in cluster.sizes:
            sizes = ", ".join(cluster.sizes)
            found["image_size"] = Objection(
                "image_size", f"image_size was {job.image_size}; cluster {cluster.name} makes {sizes}"
            )
        if job.ulysses_size not in (UNSET, cluster.ulysses_size):
            found["ulysses_size"] = Objection(
                "ulysses_size",
                f"ulysses_size was {job.ulysses_size}; cluster {cluster.name} of {cluster.world_size} ranks and "
                f"{cluster.heads} attention heads runs {cluster.ulysses_size}",
            )
    return list(found.values())
