"""The heartbeat: what an older or a newer cluster says of itself can be read."""

import msgspec
from msgspec.structs import replace

from contracts.cluster import ClusterStatus, objections, size_for_all
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


def test_auto_is_decided_for_all_clusters_by_what_they_have_in_common() -> None:
    both, wide = making("256*144", "144*256"), making("256*144")
    assert size_for_all([both], 90, 160) == "144*256"
    assert size_for_all([both, wide], 90, 160) == "256*144"
    assert size_for_all([making("832*480", "256*144"), both], 90, 160) == "256*144"
    assert size_for_all([both, making("832*480")], 90, 160) is None
    assert size_for_all([], 90, 160) is None
