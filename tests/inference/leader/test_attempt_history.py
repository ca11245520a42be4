from collections.abc import Iterable

import pytest

from contracts.events import Event, JobSubmitted, Logged
from inference.leader.attempt_history import AttemptHistory
from inference.leader.attempt_history import history_of as history_in
from tests.kit.builders import cancelled, released, stage, started, step, submitted

HOUR_S = 3600.0


def history_of(events: Iterable[Event]) -> AttemptHistory:
    """The past by a log that the broker stored as the events happened, whatever the publishers' clocks said."""
    stored_at = {id(event): event.created_at if isinstance(event, JobSubmitted) else event.at for event in events}
    return history_in(Logged(event, stored_at[id(event)]) for event in events)


def test_a_fresh_job_has_no_past() -> None:
    assert history_of([submitted()]) == AttemptHistory()


def test_an_attempt_counts_from_its_start_to_its_last_event() -> None:
    seen = history_of([submitted(), started(1, 100), stage(1, 101, 0.1), step(1, 107.5, 3, 0.3)])
    assert (seen.latest, seen.attempts_without_progress(0), seen.spent_s) == (1, 1, 7.5)


def test_attempts_add_up_and_those_handed_back_are_not_burnt() -> None:
    events = [
        started(1, 100),
        released(1, 110),
        started(2, 200),
        step(2, 205, 1, 0.1),
        started(3, 300),
        released(3, 301),
    ]
    seen = history_of(events)
    assert (seen.latest, seen.attempts_without_progress(0), seen.spent_s) == (3, 1, 16.0)


def test_a_clock_that_steps_by_a_day_during_an_attempt_takes_nothing_from_the_jobs_time() -> None:
    stepped = [started(1, 100.0), step(1, 100.0 + 24 * HOUR_S, 1, 0.1), step(1, 101.0 + 24 * HOUR_S, 2, 0.2)]
    seen = history_in([Logged(event, 50.0 + number) for number, event in enumerate(stepped)])
    assert seen.spent_s == 2.0


def test_order_repetition_and_endings_do_not_matter() -> None:
    events = [step(1, 104, 1, 0.1), started(1, 100), started(1, 100), cancelled(500.0)]
    seen = history_of(events)
    assert (seen.latest, seen.attempts_without_progress(0), seen.spent_s) == (1, 1, 4.0)


@pytest.mark.parametrize(
    ("from_steps", "checkpoint_step", "expected"),
    [
        ([0], 0, 1),
        ([0], 15, 0),  # it has left more than it found
        ([0, 15], 15, 1),
        ([0, 15, 15, 20], 20, 2),
        ([0, 15, 0], 0, 2),  # its checkpoint was damaged: the job began anew
    ],
)
def test_an_attempt_that_moves_the_checkpoint_is_not_burnt(
    from_steps: list[int], checkpoint_step: int, expected: int
) -> None:
    events = [started(number, 100.0 * number, step, 0.5) for number, step in enumerate(from_steps, start=1)]
    assert history_of(events).attempts_without_progress(checkpoint_step) == expected
