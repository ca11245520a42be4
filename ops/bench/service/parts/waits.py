"""Measures how long jobs wait in the real queue, against the formula and an ideal queue of the same trace.

`run` calls `measure`. Arrivals are Poisson, services a mixture of short and long jobs as of 480p and 720p, scaled down
so that hundreds of jobs pass in half a minute.
"""

import math
from collections.abc import Iterator

from ops.bench.report.row import Row, Series
from ops.bench.service.asked import Asked
from ops.bench.service.trace import poisson, run, waits_of
from ops.bench.turns import say

SERVICES_S = (0.1, 0.1, 0.1, 0.4)
CLUSTERS = ((1, 0.7), (2, 0.8), (4, 0.8), (8, 0.8))
"""How many clusters, and which share of their time they are to be busy."""
WINDOW_S = 30.0
ROUNDS_MAX = 3


def measure(asked: Asked) -> Iterator[Row]:
    """Yield two rows for each number of clusters: the mean wait against the formula's, and against the ideal queue's.

    The clusters are stand-ins, so the wait holds the broker's round trips and no others.
    """
    mean_s = sum(SERVICES_S) / len(SERVICES_S)
    window_s = WINDOW_S if asked.seconds >= 1 else 10 * asked.seconds
    with asked.service(asked.trees[0], "waits").running(edge=False) as service:
        for clusters, utilisation in CLUSTERS:
            per_s = clusters * utilisation / mean_s
            waits = [
                waits_of(
                    run(service, poisson(int(window_s * per_s), per_s, SERVICES_S, seed=seed), clusters),
                    clusters,
                    per_s,
                )
                for seed in range(min(ROUNDS_MAX, asked.rounds))
            ]
            if not (waits := [each for each in waits if math.isfinite(each.formula_s)]):
                raise RuntimeError(f"the machine is too busy for the trace of {clusters} clusters")
            busy = sum(each.utilisation for each in waits) / len(waits)
            say(f"{clusters} clusters were busy for {busy:.0%}")
            measured = Series("queue", [each.measured_s for each in waits])
            what = f"mean wait, {clusters} clusters, {utilisation:.0%} busy"
            formula = Series("formula", [each.formula_s for each in waits])
            yield Row(part="waits", what=what, unit="s", over=measured, under=formula)
            ideal = Series("ideal queue", [each.ideal_s for each in waits])
            yield Row(part="waits", what=what, unit="s", over=measured, under=ideal)
