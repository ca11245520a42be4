"""What a state service shows by `nats service stats`, from its metrics."""

import time

from services.state.own_numbers import FOLDED, PUT_OFF, SET_ASIDE, StateNumbers


def test_nothing_is_folded_at_the_start() -> None:
    assert StateNumbers().figures() == {
        "events_folded": 0, "batches": 0, "batches_put_off": 0, "events_set_aside": 0, "average_ms": 0.0,
        "last_folded_at": None,
    }  # fmt: skip


def test_batches_are_counted_with_their_events_and_seconds() -> None:
    numbers, before = StateNumbers(), time.time()
    numbers.events.add(FOLDED, by=7)
    numbers.events.add(SET_ASIDE)
    numbers.folded(0.010)
    numbers.folded(0.030)
    numbers.batch_s.observe(5.0, PUT_OFF)
    figures = numbers.figures()
    assert before <= (figures.pop("last_folded_at") or 0.0) <= time.time()
    assert figures == {
        "events_folded": 7, "batches": 2, "batches_put_off": 1, "events_set_aside": 1, "average_ms": 20.0,
    }  # fmt: skip
