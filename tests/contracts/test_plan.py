from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Struct

from contracts.cluster import ClusterStatus, objections, plan_on_cluster
from contracts.job import Job
from contracts.plan import Part, Plan, degrees, impossible_degrees, own_plan, usual_job_plan
from contracts.process import env


def asking(**fields: Any) -> Job:
    return Job(prompt="a boat at sea", num_frames=25, seed=1, **fields)


def chosen(world_size: int, heads: int, own: str = "", **fields: Any) -> tuple[int, int] | None:
    """cfg_size and ulysses_size of what a cluster with this plan of its own would run the job by."""
    parts = tuple(own.split(",")) if own else ()
    plan = usual_job_plan(asking(**fields), own_plan(parts, world_size, heads), world_size, heads)
    return None if plan is None else (plan.cfg_size, plan.ulysses_size)


@pytest.mark.parametrize(
    ("world_size", "heads", "fastest"),
    [(1, 40, (1, 1)), (2, 40, (2, 1)), (3, 40, (1, 1)), (3, 6, (1, 3)), (4, 40, (2, 2)), (6, 40, (2, 1)),
     (8, 40, (2, 4)), (8, 6, (2, 2)), (16, 40, (2, 8)), (80, 40, (2, 40))],
)  # fmt: skip
def test_left_to_itself_a_cluster_parts_the_branches_and_shares_their_tokens(
    world_size: int, heads: int, fastest: tuple[int, int]
) -> None:
    assert chosen(world_size, heads) == fastest


@pytest.mark.parametrize(
    ("fields", "plan"),
    [
        ({"ulysses_size": 8}, (1, 8)),
        ({"ulysses_size": 2}, (2, 2)),
        ({"cfg_size": 1}, (1, 8)),
        ({"cfg_size": 2}, (2, 4)),
        ({"cfg_size": 1, "ulysses_size": 1}, (1, 1)),
        ({"guidance_scale": 1.0}, (1, 8)),
        ({"guidance_scale": 1.0, "ulysses_size": 4}, (1, 4)),
        ({"guidance_scale": 1.0, "cfg_size": 2}, None),
        ({"cfg_size": 2, "ulysses_size": 8}, None),
        ({"ulysses_size": 3}, None),
        ({"ulysses_size": 5}, None),
    ],
    ids=str,
)
def test_on_8_ranks_what_is_left_out_is_chosen_to_fit_what_is_given(
    fields: dict[str, Any], plan: tuple[int, int] | None
) -> None:
    assert chosen(8, 40, **fields) == plan


def test_the_operators_plan_is_for_those_who_ask_for_nothing_else() -> None:
    assert chosen(8, 40, "cfg=1,ulysses=4") == (1, 4)
    assert chosen(8, 40, "ulysses=2") == (2, 2)
    assert chosen(8, 40, "cfg=1,ulysses=4", ulysses_size=4) == (1, 4)
    assert chosen(8, 40, "cfg=1,ulysses=4", cfg_size=2) == (2, 4)
    assert chosen(8, 40, "cfg=2,ulysses=2", guidance_scale=1.0) == (1, 8)


def test_flags_are_the_jobs_or_else_the_clusters() -> None:
    own = own_plan(("vae_parallel",), 2, 40)
    assert own == Plan(cfg_size=2, ulysses_size=1, vae_parallel=True)
    assert usual_job_plan(asking(), own, 2, 40) == own
    assert usual_job_plan(asking(vae_parallel=False), own, 2, 40) == Plan(cfg_size=2, ulysses_size=1)
    sharded = usual_job_plan(asking(dit_fsdp=True, t5_fsdp=True), own, 2, 40)
    assert sharded is not None
    assert (sharded.dit_fsdp, sharded.t5_fsdp) == (True, True)


class Settings(Struct, frozen=True):
    """Settings with the fields under test."""

    plan: tuple[Part, ...] = ()


@pytest.mark.parametrize("text", ["cfg=3", "ulysses=0", "ulysses", "fsdp", "cfg=2;ulysses=2", "vae_parallel=1", ","])
def test_a_plan_that_cannot_be_read_stops_the_start_and_is_named(text: str) -> None:
    with pytest.raises(SystemExit, match=r"^PLAN was "):
        env.read(Settings, {"PLAN": text})
    assert env.read(Settings, {"PLAN": "cfg=2, ulysses=4,vae_parallel"}).plan == ("cfg=2", "ulysses=4", "vae_parallel")


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        (("ulysses=3",), "with 8 ranks and 40 attention heads cfg_size×ulysses_size may be 2×4, 1×8, .* was ulysses=3"),
        (("cfg=2", "ulysses=8"), "was cfg=2, ulysses=8"),
        (("cfg=2", "cfg=1"), "expected each part once"),
    ],
)
def test_a_plan_that_the_ranks_cannot_run_is_refused_with_the_numbers(parts: tuple[Part, ...], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        own_plan(parts, 8, 40)


def cluster(name: str, world_size: int, heads: int = 40) -> ClusterStatus:
    return ClusterStatus(
        instance=name, name=name, device="cuda", world_size=world_size, model="Wan", sizes=["832*480"],
        default_size="832*480", heads=heads, plan=own_plan((), world_size, heads), current_jobs=[], started_at=1, at=2,
    )  # fmt: skip


def test_every_live_cluster_must_be_able_to_run_the_plan() -> None:
    large, small = cluster("large", 8), cluster("small", 2)
    assert objections(asking(ulysses_size=8), [large]) == []
    (objection,) = objections(asking(ulysses_size=8), [large, small])
    assert objection.field == "ulysses_size"
    assert objection.message == (
        "ulysses_size was 8; on cluster small with 2 ranks and 40 attention heads "
        "cfg_size×ulysses_size may be 2×1, 1×2, 1×1"
    )
    assert objections(asking(ulysses_size=8), []) == []


def test_the_field_at_fault_is_the_impossible_one_or_else_both() -> None:
    assert impossible_degrees(asking(cfg_size=1, ulysses_size=3), 8, 40) == ["ulysses_size"]
    assert impossible_degrees(asking(cfg_size=2), 1, 40) == ["cfg_size"]
    assert impossible_degrees(asking(cfg_size=2, ulysses_size=8), 8, 40) == ["cfg_size", "ulysses_size"]
    assert impossible_degrees(asking(cfg_size=2, guidance_scale=1.0), 8, 40) == ["cfg_size"]


sizes = st.sampled_from([UNSET, 1, 2, 3, 4, 5, 8])


@given(st.integers(1, 16), st.sampled_from([4, 6, 40]), st.sampled_from([UNSET, 1, 2]), sizes, st.booleans())
def test_a_job_has_a_plan_or_an_objection_and_the_plan_adds_up(
    world_size: int, heads: int, cfg: Any, ulysses: Any, guided: bool
) -> None:
    here, job = cluster("c", world_size, heads), asking(cfg_size=cfg, ulysses_size=ulysses)
    if not guided:
        job = asking(cfg_size=cfg, ulysses_size=ulysses, guidance_scale=1.0)
    plan = plan_on_cluster(job, here)
    assert (plan is None) == (objections(job, [here]) != [])
    if plan is not None:
        assert cfg in (UNSET, plan.cfg_size)
        assert ulysses in (UNSET, plan.ulysses_size)
        assert world_size % (plan.cfg_size * plan.ulysses_size) == 0
        assert heads % plan.ulysses_size == 0
        assert guided or plan.cfg_size == 1
        assert (plan.cfg_size, plan.ulysses_size) in degrees(world_size, heads)
