import pytest

from inference.history import Past, past
from tests.contracts.test_fold import cancelled, released, stage, started, step, submitted


def test_a_fresh_job_has_no_past() -> None:
    assert past([submitted()]) == Past()


def test_an_attempt_counts_from_its_start_to_its_last_event() -> None:
    seen = past([submitted(), started(1, 100), stage(1, 101, 0.1), step(1, 107.5, 3, 0.3)])
    assert (seen.latest, seen.burnt(0), seen.spent_s) == (1, 1, 7.5)


def test_attempts_add_up_and_those_handed_back_are_not_burnt() -> None:
    events = [
        started(1, 100),
        released(1, 110),
        started(2, 200),
        step(2, 205, 1, 0.1),
        started(3, 300),
        released(3, 301),
    ]
    seen = past(events)
    assert (seen.latest, seen.burnt(0), seen.spent_s) == (3, 1, 16.0)


def test_order_repetition_and_endings_do_not_matter() -> None:
    events = [step(1, 104, 1, 0.1), started(1, 100), started(1, 100), cancelled(500.0)]
    seen = past(events)
    assert (seen.latest, seen.burnt(0), seen.spent_s) == (1, 1, 4.0)


@pytest.mark.parametrize(
    ("from_steps", "checkpoint_step", "burnt"),
    [
        ([0], 0, 1),
        ([0], 15, 0),  # it has left more than it found
        ([0, 15], 15, 1),
        ([0, 15, 15, 20], 20, 2),
        ([0, 15, 0], 0, 2),  # its checkpoint was damaged: the job began anew
    ],
)
def test_an_attempt_that_moves_the_checkpoint_is_not_burnt(
    from_steps: list[int], checkpoint_step: int, burnt: int
) -> None:
    events = [started(number, 100.0 * number, step, 0.5) for number, step in enumerate(from_steps, start=1)]
    assert past(events).burnt(checkpoint_step) == burnt
