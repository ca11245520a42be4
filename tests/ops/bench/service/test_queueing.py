"""The formula for the wait before c clusters, against cases that are known exactly."""

import math
import random
from statistics import fmean

import pytest

from ops.bench.service.capacity import page
from ops.bench.service.queueing import clusters_for, cv2, erlang_c, ideal_waits_s, mean_wait_s
from ops.bench.service.standin import Job, Served
from ops.bench.service.trace import fairness, per_minute, waits_of


def test_one_cluster_waits_as_pollaczek_and_khinchine_have_it() -> None:
    load, service_s = 0.8, 2.0
    for variation in (0.0, 0.5, 1.0, 3.0):
        exact = load * service_s / (1 - load) * (1 + variation) / 2
        assert mean_wait_s(1, load / service_s, service_s, service_cv2=variation) == pytest.approx(exact)


def test_many_clusters_wait_as_erlang_c_has_it() -> None:
    assert erlang_c(1, 0.5) == pytest.approx(0.5)
    assert erlang_c(2, 1.0) == pytest.approx(1 / 3)
    assert mean_wait_s(2, 1.0, 1.0) == pytest.approx(1 / 3)
    assert 0 < erlang_c(5000, 4900) < 1


def test_clusters_that_cannot_keep_up_wait_for_ever() -> None:
    assert mean_wait_s(3, 3.0, 1.0) == math.inf


def test_the_clusters_that_are_needed_are_the_fewest() -> None:
    needed = clusters_for(100 / 3600, 180, 60, service_cv2=0.5)
    assert mean_wait_s(needed, 100 / 3600, 180, service_cv2=0.5) <= 60
    assert mean_wait_s(needed - 1, 100 / 3600, 180, service_cv2=0.5) > 60


def test_the_ideal_queue_hands_each_job_to_the_cluster_that_is_free_first() -> None:
    assert ideal_waits_s(2, [0, 0, 0, 1], [3, 1, 1, 5]) == [0, 0, 1, 1]


def test_the_formula_holds_in_a_long_trace_through_the_ideal_queue() -> None:
    draw = random.Random(1)
    moment, arrivals, services = 0.0, list[float](), list[float]()
    for _ in range(50_000):
        moment += draw.expovariate(3.2)
        arrivals.append(moment)
        services.append(draw.choice((0.5, 2.0)))
    waits = fmean(ideal_waits_s(5, arrivals, services))
    assert waits == pytest.approx(mean_wait_s(5, 3.2, 1.25, service_cv2=cv2(services)), rel=0.1)


def test_waits_are_read_from_who_served_which_job() -> None:
    served = Served([Job(0, 0, 100.0, 100.5, 102.0), Job(1, 1, 101.0, 101.0, 103.0), Job(2, 0, 102.0, 103.0, 104.0)])
    waits = waits_of(served, 2, per_s=1.0)
    assert (waits.measured_s, waits.ideal_s) == pytest.approx((0.5, 0.0))
    assert waits.utilisation == pytest.approx(1.5 / 2)
    assert per_minute(served) == pytest.approx(60 * 3 / 3.5)
    assert fairness(served, 2) == 0.5


def test_the_page_says_so_if_the_queue_was_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ops.bench.service.capacity.LONG_JOBS", 100)
    text = page([])
    assert "Not measured yet" in text
    assert "| 100 | 180 | 5.0 | 8 | 7 | 6 |" in text
