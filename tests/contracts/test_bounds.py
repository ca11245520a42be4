"""Every number of every message at its bound, beyond it and far beyond it: decoded or refused, and cheap either way."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from contracts import wire
from contracts.bounds import HEADS_MAX, RANKS_MAX
from contracts.cluster import ClusterStatus, objections
from contracts.events import Ending
from contracts.fold import fold_all
from contracts.job import Generation
from contracts.plan import Plan, degrees
from contracts.status import JobStatus, Results

GOLDEN = Path(__file__).parent / "golden"
ABSURD = (10**18, -(10**18), -1, 10**400)
NOT_NUMBERS = ("NaN", "Infinity", "-Infinity", "1e400", "true", '"7"', "null", "[]", "{}")
BURST_S_MAX = 0.1
ENDINGS = {kind.__name__ for kind in get_args(Ending)}

HEARTBEAT = wire.encode(
    ClusterStatus(
        instance="i", name="c", device="cpu", world_size=8, model="m", sizes=["256*144"], default_size="256*144",
        heads=40, plan=Plan(cfg_size=2, ulysses_size=4), current_jobs=[], started_at=1.0, at=2.0,
    )
)  # fmt: skip
STATUS = wire.encode(
    JobStatus(
        job_id="0123456789abcdef" * 2, status="Succeed", progress=1.0, created_at=1.0, updated_at=2.0, attempt=1,
        queue_position=1, step=3, released_attempt=1,
        results=Results(
            video_url="/v", video_path="p", width=64, height=48, num_frames=25, duration=1.5, size_bytes=10, seed=7
        ),
    )
)  # fmt: skip
MESSAGES: dict[str, tuple[bytes, Callable[[bytes], Any]]] = {
    "heartbeat": (HEARTBEAT, wire.decode_cluster),
    "status": (STATUS, wire.decode_status),
    **{file.stem: (file.read_bytes(), wire.decode_event) for file in sorted(GOLDEN.glob("*.json"))},
}
UNBOUNDED = {"queue_position"}  # the edge's own to fill in: no reader goes by it


def numbers(document: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The places of all numbers in a JSON document."""
    for name, value in document.items():
        if isinstance(value, dict):
            yield from numbers(value, (*path, name))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield (*path, name)


def with_value(document: Any, path: tuple[str, ...], literal: str) -> bytes:
    """The document with that literal in that place."""
    marked = json.loads(json.dumps(document))
    within = marked
    for name in path[:-1]:
        within = within[name]
    within[path[-1]] = "@@"
    return json.dumps(marked).replace('"@@"', literal).encode()


def places() -> list[Any]:
    return [
        pytest.param(payload, decode, path, id=f"{name}-{'.'.join(path)}")
        for name, (payload, decode) in MESSAGES.items()
        for path in numbers(json.loads(payload))
        if path[-1] not in UNBOUNDED
    ]


@pytest.mark.parametrize(("payload", "decode", "path"), places())
def test_a_number_beyond_all_reason_is_refused(
    payload: bytes, decode: Callable[[bytes], Any], path: tuple[str, ...]
) -> None:
    document = json.loads(payload)
    decode(payload)
    for literal in (*map(str, ABSURD), *(literal for literal in NOT_NUMBERS if literal != "null")):
        if path[0] == "job" and document["type"] in ENDINGS:
            assert is_left_out(decode, with_value(document, path, literal))
            continue
        with pytest.raises(wire.Undecodable):
            decode(with_value(document, path, literal))


def is_left_out(decode: Callable[[bytes], Any], payload: bytes) -> bool:
    """Whether an ending is read without the job that it repeats; also if it is refused, being no JSON."""
    try:
        return decode(payload).job is None
    except wire.Undecodable:
        return not is_json(payload)


def is_json(payload: bytes) -> bool:
    try:
        msgspec.json.decode(payload)
    except msgspec.DecodeError:
        return False
    return True


@pytest.mark.parametrize("heads", [1, 40, 840, HEADS_MAX])
def test_the_largest_cluster_that_a_heartbeat_may_claim_costs_a_submission_next_to_nothing(heads: int) -> None:
    document = {**json.loads(HEARTBEAT), "world_size": RANKS_MAX, "heads": heads}
    cluster = wire.decode_cluster(json.dumps(document).encode())
    degrees.cache_clear()
    began = time.thread_time()
    objections(Generation(prompt="a boat at sea", ulysses_size=7, cfg_size=2), [cluster] * 100)
    assert time.thread_time() - began < BURST_S_MAX


def test_the_largest_events_of_a_job_still_fold() -> None:
    events = [wire.decode_event(file.read_bytes()) for file in sorted(GOLDEN.glob("*.json"))]
    status = fold_all(events)
    assert status is not None
    assert wire.decode_status(wire.encode(status)) == status
