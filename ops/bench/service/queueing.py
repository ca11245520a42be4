"""Computes how long jobs wait in a queue before c clusters: the formula, and the ideal queue of one trace. Pure.

Formula: Erlang C for M/M/c, corrected by the variation of arrivals and services for G/G/c, after Allen and Cunneen:
A. O. Allen, Probability, Statistics, and Queueing Theory, 2nd ed., 1990, section 5.6. Exact for M/M/c and, with one
server, for M/G/1 (Pollaczek and Khinchine).
"""

import heapq
from collections.abc import Sequence
from statistics import fmean, pvariance

CLUSTERS_MAX = 10_000


def erlang_c(clusters: int, load: float) -> float:
    """Return the probability that a job has to wait: `load` is in erlangs (arrival rate x mean service), below c.

    The recursion of Erlang B, which overflows for no number of clusters.
    """
    blocked = 1.0
    for servers in range(1, clusters + 1):
        blocked = load * blocked / (servers + load * blocked)
    return blocked / (1 - load / clusters * (1 - blocked))


def mean_wait_s(
    clusters: int, per_s: float, service_s: float, *, service_cv2: float = 1.0, arrival_cv2: float = 1.0
) -> float:
    """Return the mean seconds that a job waits (Allen and Cunneen); infinite if the clusters cannot keep up.

    `per_s` jobs arrive a second, each takes `service_s` in the mean; `…_cv2` are squared coefficients of variation.
    """
    load = per_s * service_s
    if load >= clusters:
        return float("inf")
    waits = erlang_c(clusters, load) * service_s / (clusters - load)
    return waits * (arrival_cv2 + service_cv2) / 2


def clusters_for(per_s: float, service_s: float, wait_s: float, *, service_cv2: float = 1.0) -> int:
    """Return the least number of clusters by which the mean wait is at most `wait_s`."""
    fitting = (
        clusters
        for clusters in range(int(per_s * service_s) + 1, CLUSTERS_MAX)
        if mean_wait_s(clusters, per_s, service_s, service_cv2=service_cv2) <= wait_s
    )
    return next(fitting)


def ideal_waits_s(clusters: int, arrivals: Sequence[float], services: Sequence[float]) -> list[float]:
    """Return the wait of each job in a queue that costs nothing: first come, first served, by whoever is free first.

    `arrivals` are moments in seconds, in order (the recursion of Kiefer and Wolfowitz, 1955).
    """
    free_at = [0.0] * clusters
    waits: list[float] = []
    for arrival, service in zip(arrivals, services, strict=True):
        begins = max(arrival, free_at[0])
        waits.append(begins - arrival)
        heapq.heapreplace(free_at, begins + service)
    return waits


def cv2(values: Sequence[float]) -> float:
    """Return the squared coefficient of variation."""
    return pvariance(values) / fmean(values) ** 2
