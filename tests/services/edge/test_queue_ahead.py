"""The queue ahead, computed: who is served by whom, and when."""

import pytest

from contracts.job import Job
from contracts.stage_times import STAGES, MeasuredPace
from services.edge.queue_ahead import Server, look_ahead

JOB = Job(prompt="a boat at sea", num_frames=25, infer_steps=20, seed=1)
LONG = Job(prompt="a boat at sea", num_frames=25, infer_steps=40, seed=1)
PIXELS = 256 * 144 * 25
PACE = MeasuredPace(pixels=PIXELS, encode=1 / PIXELS, denoise=8 / (PIXELS * 40), decode=1 / PIXELS, store=0.5 / PIXELS)
"""By which `JOB` takes 10 s on the ranks and 0.5 s afterwards, and `LONG` 18 s and 0.5 s."""


def server(free_in_s: float, *paces: MeasuredPace, usual_s: float | None = None) -> Server:
    return Server(free_in_s, usual_s, "256*144", paces)


def test_each_job_goes_to_the_cluster_that_is_free_first() -> None:
    ahead = look_ahead([server(3, PACE), server(5, PACE)], [("a", LONG), ("b", JOB), ("c", JOB)])
    assert ahead is not None
    assert ahead.ends_s == pytest.approx({"a": 21.5, "b": 15.5, "c": 25.5})


def test_a_video_is_stored_while_the_ranks_work_on_the_next_one() -> None:
    ahead = look_ahead([server(0, PACE)], [("a", JOB), ("b", JOB)])
    assert ahead is not None
    assert ahead.ends_s == pytest.approx({"a": 10.5, "b": 20.5})


def test_jobs_behind_those_that_were_looked_at_end_at_the_rate_of_all_clusters() -> None:
    ahead = look_ahead([server(0, PACE), server(0, PACE)], [("a", JOB), ("b", JOB)])
    assert ahead is not None
    assert ahead.end_s("x", 4) == pytest.approx(10.5 + 2 * 5)


def test_a_faster_cluster_takes_more_jobs() -> None:
    fast = MeasuredPace(pixels=PIXELS, **{stage: getattr(PACE, stage) / 10 for stage in STAGES})
    ahead = look_ahead([server(0, PACE), server(0, fast)], [(str(n), JOB) for n in range(8)])
    assert ahead is not None
    assert sorted(ahead.ends_s.values()) == pytest.approx([1.05, 2.05, 3.05, 4.05, 5.05, 6.05, 7.05, 10.5])


def test_without_a_pace_jobs_take_what_the_latest_success_took_and_without_that_nothing_is_made_up() -> None:
    ahead = look_ahead([server(2, usual_s=7)], [("a", LONG), ("b", None)])
    assert ahead is not None
    assert ahead.ends_s == {"a": 9, "b": 16}
    assert look_ahead([server(2)], [("a", JOB)]) is None
    assert look_ahead([], [("a", JOB)]) is None


def test_a_job_that_cannot_be_read_counts_as_the_average() -> None:
    ahead = look_ahead([server(0, PACE)], [("a", JOB), ("b", LONG), ("c", None)])
    assert ahead is not None
    assert ahead.ends_s["c"] == pytest.approx(28 + 14)
