"""The plan by which the ranks of a cluster share a job: CFG and Ulysses parallelism, and sharded weights.

A cluster chooses its own plan at the start (`own_plan`) and one for each job (`cluster.plan_on_cluster`); the edge
refuses a job that no plan fits. Numbers of ranks and heads go in, degrees and words come out. Pure.
"""

from functools import lru_cache
from typing import Annotated

from msgspec import UNSET, Meta, Struct

from contracts.bounds import Ranks
from contracts.job import Generation
from contracts.words import form

Part = Annotated[
    str,
    Meta(
        pattern=r"^(cfg=[12]|ulysses=[1-9][0-9]{0,3}|dit_fsdp|t5_fsdp|vae_parallel)\Z",
        extra=form("cfg=1, cfg=2, ulysses=NUMBER, dit_fsdp, t5_fsdp or vae_parallel"),
    ),
]
"""A part of the setting `PLAN`, such as `cfg=2`."""

DEGREES_REMEMBERED = 1024

_FIELDS = {"cfg": "cfg_size", "ulysses": "ulysses_size"}
_FLAGS = ("dit_fsdp", "t5_fsdp", "vae_parallel")


class Plan(Struct, frozen=True, kw_only=True):
    """A way to share a job: `cfg_size` × `ulysses_size` ranks make the video; ranks left over repeat the same work.

    `cfg_size` 2 puts the branches of guidance on separate ranks, `ulysses_size` ranks share the tokens of a branch. The
    flags keep the weights of a model sharded, and split encoding and decoding over all ranks.
    """

    cfg_size: Annotated[int, Meta(ge=1, le=2)]
    ulysses_size: Ranks
    dit_fsdp: bool = False
    t5_fsdp: bool = False
    vae_parallel: bool = False


@lru_cache(maxsize=DEGREES_REMEMBERED)
def degrees(world_size: int, heads: int, *, guided: bool = True) -> tuple[tuple[int, int], ...]:
    """Return (cfg_size, ulysses_size) of every way to share a video, the fastest first.

    `heads` counts the model's attention heads, which `ulysses_size` divides; `cfg_size` is 1 without guidance. Sorted
    by ranks used, most first; on a tie `cfg_size` 2 first, because CFG ranks communicate once a step and Ulysses ranks
    in every block. Cached, since the edge asks for every submission and every live cluster.
    """
    found = [
        (cfg, ulysses)
        for cfg in ((1, 2) if guided else (1,))
        for ulysses in range(1, min(world_size, heads) + 1)
        if heads % ulysses == 0 and world_size % (cfg * ulysses) == 0
    ]
    return tuple(sorted(found, key=lambda pair: (pair[0] * pair[1], pair[0]), reverse=True))


def own_plan(parts: tuple[Part, ...], world_size: int, heads: int) -> Plan:
    """Return the plan that an operator sets for a cluster. Degrees that no part names are the fastest.

    Without any part all is the fastest, with `vae_parallel` on several ranks; else flags are off unless named. Raises
    `ValueError`, with the numbers, if the ranks cannot run the plan.
    """
    if not parts:
        cfg, ulysses = degrees(world_size, heads)[0]
        return Plan(cfg_size=cfg, ulysses_size=ulysses, vae_parallel=world_size > 1)
    named = {name: value for name, _, value in (part.partition("=") for part in parts)}
    if len(named) < len(parts):
        raise ValueError(f"expected each part once, was {', '.join(parts)}")
    sizes = {field: int(named[name]) for name, field in _FIELDS.items() if name in named}
    fitting = _fitting(degrees(world_size, heads), **sizes)
    if not fitting:
        raise ValueError(f"{possible_degrees_in_words(world_size, heads)}, was {', '.join(parts)}")
    cfg, ulysses = fitting[0]
    return Plan(cfg_size=cfg, ulysses_size=ulysses, **{flag: flag in named for flag in _FLAGS})


def usual_job_plan(job: Generation, own: Plan, world_size: int, heads: int) -> Plan | None:
    """Return the plan that a job gets if memory allows it; None if the ranks cannot do what the job asks for.

    Flags that the job leaves out are those of the cluster's `own` plan. Its degrees are those of `own`, or the fastest
    pair that fits the job. `cluster.plan_on_cluster` returns the plan by which the job runs.
    """
    fitting = _fitting(degrees(world_size, heads, guided=job.guided), **_asked(job))
    if not fitting:
        return None
    preferred = (own.cfg_size, own.ulysses_size)
    cfg, ulysses = preferred if preferred in fitting else fitting[0]
    flags = {flag: getattr(own if getattr(job, flag) is UNSET else job, flag) for flag in _FLAGS}
    return Plan(cfg_size=cfg, ulysses_size=ulysses, **flags)


def impossible_degrees(job: Generation, world_size: int, heads: int) -> list[str]:
    """Return the degrees of the job for which these ranks have no plan, by field name; empty if they have one.

    Each degree that is impossible by itself, or else all that the job names.
    """
    possible, asked = degrees(world_size, heads, guided=job.guided), _asked(job)
    if _fitting(possible, **asked):
        return []
    alone = [field for field, size in asked.items() if not _fitting(possible, **{field: size})]
    return alone or list(asked)


def possible_degrees_in_words(world_size: int, heads: int, *, guided: bool = True) -> str:
    """Return the pairs of degrees that are possible, fastest first, in words that are safe to show."""
    pairs = ", ".join(f"{cfg}×{ulysses}" for cfg, ulysses in degrees(world_size, heads, guided=guided))
    return f"with {world_size} ranks and {heads} attention heads cfg_size×ulysses_size may be {pairs}"


def _asked(job: Generation) -> dict[str, int]:
    """Return the degrees that a job asks for, by field."""
    sizes = {field: getattr(job, field) for field in _FIELDS.values()}
    return {field: size for field, size in sizes.items() if size is not UNSET}


def _fitting(
    possible: tuple[tuple[int, int], ...], *, cfg_size: int | None = None, ulysses_size: int | None = None
) -> list[tuple[int, int]]:
    """Return the possible pairs that have the degrees asked for."""
    return [(cfg, ulysses) for cfg, ulysses in possible if cfg_size in (None, cfg) and ulysses_size in (None, ulysses)]
