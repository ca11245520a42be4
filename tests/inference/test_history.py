from inference.history import Past, past
from tests.contracts.test_fold import cancelled, released, stage, started, step, submitted


def test_a_fresh_job_has_no_past() -> None:
    assert past([submitted()]) == Past()


def test_an_attempt_counts_from_its_start_to_its_last_event() -> None:
    assert past([submitted(), started(1, 100), stage(1, 101, 0.1), step(1, 107.5, 3, 0.3)]) == Past(
        latest=1, burnt=1, spent_s=7.5
    )


def test_attempts_add_up_and_those_handed_back_are_not_burnt() -> None:
    events = [
        started(1, 100),
        released(1, 110),
        started(2, 200),
        step(2, 205, 1, 0.1),
        started(3, 300),
        released(3, 301),
    ]
    assert past(events) == Past(latest=3, burnt=1, spent_s=16.0)


def test_order_repetition_and_endings_do_not_matter() -> None:
    events = [step(1, 104, 1, 0.1), started(1, 100), started(1, 100), cancelled(500.0)]
    assert past(events) == Past(latest=1, burnt=1, spent_s=4.0)
