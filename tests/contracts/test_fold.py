import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from contracts.events import (
    Event,
    StageStarted,
)
from contracts.fold import fold, fold_all
from contracts.status import JobStatus
from tests.kit.builders import ID, cancelled, deleted, failed, released, stage, started, step, submitted, succeeded

_at = st.floats(1, 1e6, allow_nan=False)
_attempt = st.integers(1, 4)
_progress = st.floats(0, 0.99)
_eta = st.none() | st.floats(0, 1e4)
_open_events: st.SearchStrategy[Event] = st.one_of(
    st.builds(started, _attempt, _at),
    st.builds(started, _attempt, _at, st.integers(1, 20), _progress, st.none() | st.floats(0, 1)),
    st.builds(stage, _attempt, _at, _progress, _eta),
    st.builds(step, _attempt, _at, st.integers(1, 20), _progress, _eta),
    st.builds(released, _attempt, _at),
)
_submission = st.builds(submitted, metadata=st.none() | st.just({"order": "17"}))
_ending: st.SearchStrategy[Event] = st.one_of(
    st.builds(succeeded, _attempt, _at), st.builds(failed, _attempt, _at), st.builds(cancelled, _at)
)


@st.composite
def logs(draw: st.DrawFn) -> tuple[list[Event], list[Event]]:
    """A job's events as the log may hold them (one submission, at most one ending), and the same ones as they may
    arrive: in any order, any of them any number of times more."""
    events = [draw(_submission), *draw(st.lists(_open_events, max_size=12)), *draw(st.lists(_ending, max_size=1))]
    again = draw(st.lists(st.sampled_from(events), max_size=12))
    return events, draw(st.permutations([*events, *again]))


@pytest.mark.slow
@given(logs())
@settings(max_examples=1000, deadline=None)
def test_any_order_and_repetition_of_a_jobs_events_folds_to_the_same_status(
    log: tuple[list[Event], list[Event]],
) -> None:
    in_order, as_it_came = log
    assert fold_all(as_it_came) == fold_all(in_order)


@pytest.mark.slow
@given(logs())
@settings(max_examples=300, deadline=None)
def test_an_ended_status_never_changes_but_for_its_submission(log: tuple[list[Event], list[Event]]) -> None:
    status: JobStatus | None = None
    for event in log[1]:
        after = fold(status, event)
        if status is not None and status.ended:
            assert (after.status, after.reason, after.results, after.updated_at) == (
                status.status,
                status.reason,
                status.results,
                status.updated_at,
            )
        status = after


@pytest.mark.slow
@given(logs(), st.lists(_at, min_size=1, max_size=3), st.data())
@settings(max_examples=500, deadline=None)
def test_a_deletion_absorbs_whatever_comes_before_or_after_it(
    log: tuple[list[Event], list[Event]], at: list[float], data: st.DataObject
) -> None:
    as_it_came = data.draw(st.permutations([*log[1], *map(deleted, at)]))
    assert fold_all(as_it_came) == JobStatus(job_id=ID, status="Deleted", updated_at=max(at))


@pytest.mark.slow
@given(logs())
@settings(max_examples=300, deadline=None)
def test_progress_never_falls_within_an_attempt_and_is_whole_only_with_success(
    log: tuple[list[Event], list[Event]],
) -> None:
    status: JobStatus | None = None
    for event in log[1]:
        after = fold(status, event)
        if status is not None and after.attempt == status.attempt:
            assert after.progress >= status.progress
        assert (after.progress == 1.0) == (after.status == "Succeed")
        status = after


def states(*events: Event) -> list[str]:
    status, seen = None, []
    for event in events:
        status = fold(status, event)
        seen.append(status.status)
    return seen


def test_a_job_waits_runs_and_succeeds() -> None:
    events = (submitted(), started(1, 101), step(1, 102, 1, 0.2), succeeded(1, 110))
    assert states(*events) == ["InQueue", "InProgress", "InProgress", "Succeed"]
    status = fold_all(events)
    assert status is not None and status.results is not None
    assert (status.created_at, status.updated_at, status.results.seed) == (100.0, 110, 7)


def test_a_released_job_waits_again_and_a_late_step_does_not_start_it() -> None:
    events = (submitted(), started(1, 101), released(1, 103), step(1, 102, 5, 0.5), started(2, 120))
    assert states(*events) == ["InQueue", "InProgress", "InQueue", "InQueue", "InProgress"]


def test_a_failed_job_says_why() -> None:
    status = fold_all([submitted(), started(1, 101), failed(1, 102)])
    assert status is not None
    assert (status.status, status.reason, status.results) == ("Failed", "no room", None)


def test_an_attempt_that_goes_on_from_a_checkpoint_shows_the_job_where_it_goes_on() -> None:
    log: list[Event] = [submitted(), started(1, 101), step(1, 102, 17, 0.8), started(2, 120, 15, 0.7)]
    status = fold_all(log)
    assert status is not None
    assert (status.attempt, status.stage, status.step, status.progress) == (2, "denoise", 15, 0.7)
    again = fold(status, StageStarted(job_id=ID, at=121, attempt=2, stage="denoise", progress=0.7))
    assert (again.stage, again.step, again.progress) == ("denoise", 15, 0.7)


def test_size_and_what_was_cut_are_known_from_the_start_and_are_those_of_the_latest_attempt() -> None:
    waiting = fold_all([submitted()])
    assert waiting is not None
    assert (waiting.width, waiting.height, waiting.cropped) == (None, None, None)
    portrait = replace(started(2, 3.0, cropped=0.1), width=144, height=256)
    running = fold_all([submitted(), portrait, started(1, 2.0, cropped=0.68)])
    assert running is not None
    assert (running.width, running.height, running.cropped, running.sized_attempt) == (144, 256, 0.1, 2)
    ended = fold_all([submitted(), portrait, replace(succeeded(1, 4.0), cropped=0.68)])
    assert ended is not None
    assert (ended.width, ended.height, ended.cropped, ended.sized_attempt) == (256, 144, 0.68, 1)
    assert ended.results is not None
    assert ended.results.cropped == 0.68


def test_how_long_a_job_takes_is_told_by_its_furthest_event_and_by_none_while_it_waits_or_has_ended() -> None:
    events = [submitted(), started(1, 101.0), step(1, 103.0, 3, 0.3, 20.0), step(1, 104.0, 4, 0.4, 18.0)]
    status = fold_all(events)
    assert status is not None
    assert status.eta_seconds == 18.0
    for last in (released(1, 105.0), succeeded(1, 106.0), failed(1, 106.0), cancelled(106.0), started(2, 107.0)):
        assert fold(status, last).eta_seconds is None
