"""The heartbeat: what an older or a newer cluster says of itself can be read."""

import msgspec

from contracts.cluster import ClusterStatus
from tests.contracts.test_plan import cluster


def test_the_heartbeat_of_an_older_cluster_is_read_without_weights() -> None:
    older = msgspec.json.decode(msgspec.json.encode(cluster("one", 2)))
    del older["weights"]
    assert msgspec.json.decode(msgspec.json.encode(older), type=ClusterStatus) == cluster("one", 2)


def test_the_heartbeat_of_a_newer_cluster_is_read_without_what_is_new() -> None:
    newer = {**msgspec.json.decode(msgspec.json.encode(cluster("one", 2))), "colour": "red"}
    assert msgspec.json.decode(msgspec.json.encode(newer), type=ClusterStatus) == cluster("one", 2)
