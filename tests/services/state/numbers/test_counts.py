"""Facts become counts, whose labels are bounded."""

import msgspec

from contracts.process.metrics import LONG_S, OTHER
from services.state.numbers.counts import (
    MODELS_MAX,
    NO_MODEL,
    Accepted,
    Begun,
    Counts,
    Ended,
    Released,
    anew,
    counted,
    ended_by_labels,
)


def test_each_fact_counts_once_where_it_belongs() -> None:
    counts = Counts("log")
    for fact in (
        Accepted(),
        Accepted(),
        Begun("pocket", 3.0),
        Begun("pocket", None),
        Released(),
        Ended("succeeded", "pocket", 70.0),
        Ended("cancelled", NO_MODEL, None),
    ):
        counted(counts, fact)
    assert (counts.accepted, counts.begun, counts.released) == (2, {"first": 1, "further": 1}, 1)
    assert counts.ended == {"succeeded/pocket": 1, "cancelled/none": 1}
    assert counts.ran.keys() == {"succeeded/pocket"}
    assert (counts.waited["pocket"].total, sum(counts.waited["pocket"].counts)) == (3.0, 1)
    assert counts.ran["succeeded/pocket"].counts[LONG_S.index(120.0)] == 1
    assert ended_by_labels(counts)["failed", NO_MODEL] == 0
    assert ended_by_labels(counts)["succeeded", "pocket"] == 1


def test_a_clock_that_steps_back_makes_no_negative_time() -> None:
    counts = Counts("log")
    counted(counts, Begun("pocket", -5.0))
    assert counts.waited["pocket"].total == 0.0


def test_models_beyond_the_limit_are_one() -> None:
    counts = Counts("log")
    for each in range(3 * MODELS_MAX):
        counted(counts, Ended("failed", f"model {each}", 1.0))
        counted(counts, Begun(f"model {each}", 1.0))
    assert len(counts.ended) == len(counts.ran) == len(counts.waited) == MODELS_MAX + 1
    assert counts.ended[f"failed/{OTHER}"] == 2 * MODELS_MAX


def test_a_model_may_have_any_name() -> None:
    counts = Counts("log")
    counted(counts, Ended("failed", "a/b", 1.0))
    assert ended_by_labels(counts)["failed", "a/b"] == 1


def test_counts_go_on_for_their_own_log_alone() -> None:
    counts = Counts("log", sequence=7, accepted=3)
    assert anew(counts, "log") is counts
    assert anew(counts, "another") == Counts("another")
    assert anew(None, "log") == Counts("log")


def test_counts_are_the_same_after_a_way_through_the_broker() -> None:
    counts = Counts("log", sequence=7)
    counted(counts, Begun("pocket", 3.0))
    assert msgspec.json.decode(msgspec.json.encode(counts), type=Counts) == counts


def test_two_counts_share_nothing() -> None:
    one, two = Counts("a"), Counts("b")
    counted(one, Ended("failed", "m", 1.0))
    counted(one, Begun("m", 1.0))
    assert two == Counts("b")
