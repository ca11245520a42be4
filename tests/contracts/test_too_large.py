"""Jobs and the memory of clusters: which plan a job gets, which jobs are refused, and in which words."""

import time
from typing import Any

import msgspec
import pytest
from msgspec import UNSET
from msgspec.structs import replace

from contracts import wire
from contracts.cluster import ClusterStatus, Objection, objections, plan_on_cluster
from contracts.fitting import Room, fastest, plans
from contracts.job import JobRequest
from contracts.memory import Holding, Work
from contracts.model_shape import WAN_14B
from contracts.plan import Plan, own_plan
from contracts.too_large import work_of

GB = 10**9
SIZES = ["1280*720", "720*1280", "832*480", "480*832"]
JOB = JobRequest(prompt="a cat walks in the rain", image_url="https://example.org/cat.png")
SHARDED = Plan(cfg_size=2, ulysses_size=4, dit_fsdp=True, t5_fsdp=True, vae_parallel=True)
ANSWERS_WITHIN_S = 1.0


def room(gigabytes: float, ranks: int = 8, **holding: Any) -> Room:
    return Room(card_bytes=int(gigabytes * GB), shape=WAN_14B, holding=Holding(ranks=ranks, **holding))


def cluster(gigabytes: float | None, ranks: int = 8, name: str = "here") -> ClusterStatus:
    return ClusterStatus(
        instance=name,
        name=name,
        device="cuda",
        world_size=ranks,
        model="Wan",
        sizes=SIZES,
        default_size=SIZES[0],
        heads=40,
        plan=own_plan((), ranks, 40),
        current_jobs=[],
        started_at=1,
        at=2,
        room=None if gigabytes is None else room(gigabytes, ranks),
    )


def refused(job: JobRequest, *clusters: ClusterStatus) -> Objection:
    (objection,) = objections(job, clusters)
    return objection


@pytest.mark.parametrize(("gigabytes", "gathered"), [(24, False), (32, False), (64, True), (80, True)])
def test_a_cluster_of_eight_gets_the_fastest_plan_that_fits(gigabytes: int, gathered: bool) -> None:
    chosen = fastest(room(gigabytes), work_of(JOB, SIZES[0]))
    assert chosen == (own_plan((), 8, 40) if gathered else SHARDED)
    assert plan_on_cluster(JOB, cluster(gigabytes)) == chosen


def test_a_job_keeps_the_usual_plan_where_memory_is_unknown_or_enough() -> None:
    assert plan_on_cluster(JOB, cluster(None)) == plan_on_cluster(JOB, cluster(80)) == own_plan((), 8, 40)


def test_a_larger_job_gets_a_thriftier_plan_than_the_clusters_own() -> None:
    larger = replace(JOB, num_frames=121, use_attentioncache=True)
    plan = plan_on_cluster(larger, cluster(64))
    assert plan is not None
    assert plan.t5_fsdp
    assert objections(larger, [cluster(64)]) == []


def test_what_a_job_asks_for_is_never_taken_from_it() -> None:
    objection = refused(replace(JOB, dit_fsdp=False), cluster(24))
    assert objection.field == "dit_fsdp"
    assert "it would fit with dit_fsdp left to the cluster" in objection.message
    own = plan_on_cluster(replace(JOB, cfg_size=1, vae_parallel=False), cluster(32))
    assert own is not None
    assert (own.cfg_size, own.vae_parallel) == (1, False)


def test_what_fits_no_cluster_is_refused_with_the_gigabytes_and_the_fields_that_help() -> None:
    objection = refused(replace(JOB, num_frames=121, use_attentioncache=True), cluster(24))
    assert objection.field == "use_attentioncache"
    for words in ("GB of each card at the stage denoise", "which has 24.0", "use_attentioncache false", "832*480"):
        assert words in objection.message
    assert "num_frames up to " in objection.message


def test_a_job_that_one_cluster_can_hold_is_accepted() -> None:
    larger = replace(JOB, num_frames=121, use_attentioncache=True)
    assert objections(larger, [cluster(24, name="small"), cluster(80, name="large")]) == []
    assert objections(larger, [cluster(24), cluster(None, name="silent")]) == []


def test_the_nearest_cluster_speaks_for_all() -> None:
    assert "cluster wide:" in refused(JOB, cluster(12, 1, "narrow"), cluster(15, 8, "wide")).message


def test_where_nothing_helps_a_larger_cluster_is_named() -> None:
    objection = refused(JOB, cluster(8, 1))
    assert objection.field == "image_size"
    assert "it would fit with a cluster of more or larger cards" in objection.message


def test_the_answer_to_a_job_that_fits_nowhere_is_there_at_once_whatever_heartbeats_claim() -> None:
    """840 ranks and heads have the most ways to share a job."""
    shape = replace(WAN_14B, heads=840)
    claims = replace(cluster(1, 840), heads=840, room=replace(room(1, 840), shape=shape), sizes=["832*480"] * 64)
    began = time.monotonic()
    refused(replace(JOB, num_frames=120, use_attentioncache=True), *[claims] * 100)
    assert time.monotonic() - began < ANSWERS_WITHIN_S


def test_weights_of_eight_bits_and_offloaded_ones_make_room() -> None:
    work = Work(width=1280, height=720, num_frames=81)
    plain = room(80, 1).peaks(work, Plan(cfg_size=1, ulysses_size=1)).denoise
    for holding, less in (({"fp8_linear": True}, 16), ({"text_offloaded": True}, 11)):
        assert plain - room(80, 1, **holding).peaks(work, Plan(cfg_size=1, ulysses_size=1)).denoise > less * GB


def test_every_plan_on_offer_can_be_run() -> None:
    for ranks in (1, 2, 3, 5, 8, 16):
        assert all(8 * 40 % each.ulysses_size == 0 and not ranks % each.cfg_size for each in plans(ranks, 40))


def test_heartbeats_are_readable_by_older_and_newer_readers() -> None:
    new = cluster(80)
    content = msgspec.json.decode(wire.encode(new))
    assert wire.decode_cluster(wire.encode(new)) == new
    del content["room"]
    assert wire.decode_cluster(msgspec.json.encode(content)) == replace(new, room=None)
    older = msgspec.defstruct("Older", [("name", str), ("plan", Plan)])
    read: Any = msgspec.json.decode(wire.encode(new), type=older)
    assert read.plan == new.plan


def test_a_job_without_frames_counts_as_one_of_the_default() -> None:
    assert work_of(JOB, "832*480") == Work(width=832, height=480, num_frames=81)
    assert work_of(replace(JOB, image_size="auto", cfg_size=UNSET), SIZES[0]).width == 1280
