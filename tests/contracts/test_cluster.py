"""The heartbeat: what an older or a newer cluster says of itself can be read."""

import msgspec
import pytest
from msgspec.structs import replace

from contracts.cluster import ClusterStatus, auto_size_for_all, objections
from tests.contracts.test_plan import asking, cluster


def test_the_heartbeat_of_an_older_cluster_is_read_without_weights() -> None:
    older = msgspec.json.decode(msgspec.json.encode(cluster("one", 2)))
    del older["weights"]
    assert msgspec.json.decode(msgspec.json.encode(older), type=ClusterStatus) == cluster("one", 2)


def test_the_heartbeat_of_a_newer_cluster_is_read_without_what_is_new() -> None:
    newer = {**msgspec.json.decode(msgspec.json.encode(cluster("one", 2))), "colour": "red"}
    assert msgspec.json.decode(msgspec.json.encode(newer), type=ClusterStatus) == cluster("one", 2)


def making(default: str, *sizes: str) -> ClusterStatus:
    return replace(cluster("one", 2), sizes=[default, *sizes], default_size=default)


def test_no_cluster_objects_to_auto() -> None:
    assert objections(asking(image_size="auto"), [making("256*144")]) == []


def test_a_model_that_is_not_served_is_named_with_the_one_that_is() -> None:
    assert objections(asking(model=cluster("one", 2).model), [cluster("one", 2)]) == []
    assert objections(asking(model="default"), [cluster("one", 2)]) == []
    assert objections(asking(model="another"), []) == []
    wrong = objections(asking(model="another"), [cluster("one", 2)])
    assert [(each.field, each.message) for each in wrong] == [
        ("model", "model was another; cluster one serves Wan, or default")
    ]


def test_auto_is_decided_for_all_clusters_by_what_they_have_in_common() -> None:
    both, wide = making("256*144", "144*256"), making("256*144")
    assert auto_size_for_all([both], 90, 160) == "144*256"
    assert auto_size_for_all([both, wide], 90, 160) == "256*144"
    assert auto_size_for_all([making("832*480", "256*144"), both], 90, 160) == "256*144"
    assert auto_size_for_all([both, making("832*480")], 90, 160) is None
    assert auto_size_for_all([], 90, 160) is None


def test_the_heartbeat_of_an_older_cluster_says_nothing_of_paces() -> None:
    older = msgspec.json.decode(msgspec.json.encode(cluster("one", 2)))
    for field in ("jobs_left_s", "free_in_s", "paces"):
        del older[field]
    assert msgspec.json.decode(msgspec.json.encode(older), type=ClusterStatus) == cluster("one", 2)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("jobs_left_s", [1.0] * 17),
        ("jobs_left_s", [-1.0]),
        ("free_in_s", 1e300),
        ("paces", [{"pixels": 1, "encode": 0, "denoise": 0, "decode": 0, "store": 0}] * 9),
        ("paces", [{"pixels": 0, "encode": 0, "denoise": 0, "decode": 0, "store": 0}]),
        ("paces", [{"pixels": 1, "encode": 2, "denoise": 0, "decode": 0, "store": 0}]),
    ],
)
def test_the_numbers_of_a_heartbeat_have_bounds(field: str, value: object) -> None:
    forged = {**msgspec.json.decode(msgspec.json.encode(cluster("one", 2))), field: value}
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(forged), type=ClusterStatus)
