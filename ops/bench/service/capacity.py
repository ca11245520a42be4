"""Writes `ops/capacity.md`: how many clusters so many videos an hour need. `python -m ops.bench.service.capacity`.

The formula's waits stand beside those of the real queue, from the results of `just bench-service waits`, and those of a
long trace through an ideal queue.
"""

import random
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from ops.bench.report.row import Row
from ops.bench.service import report
from ops.bench.service.queueing import clusters_for, cv2, ideal_waits_s, mean_wait_s
from ops.bench.service.run import NAME, RESULTS
from ops.bench.service.trace import poisson

PAGE = Path(__file__).parents[2] / "capacity.md"
RANKS = 8
VIDEO_S = (60, 180, 600)
AN_HOUR = (10, 30, 100, 300, 1000)
WAITS_S = (10, 60, 600)
CV2 = 0.5
SERVICES_S = (0.1, 0.1, 0.1, 0.4)
LONG_JOBS = 200_000
LONG = tuple((clusters, busy) for busy in (0.7, 0.9) for clusters in (1, 2, 8, 32))
HEAD = f"""# Capacity: clusters for so many videos an hour

Written by `just capacity` from [the results of the service's benchmark](bench/results/service.txt). A cluster runs one
job at a time on its {RANKS} cards, and all clusters pull from one queue, so that they are the servers of one line: the
mean wait follows from the formula of Allen and Cunneen for G/G/c (A. O. Allen, *Probability, Statistics, and Queueing
Theory*, 2nd ed., 1990, 5.6), which corrects Erlang C by how much arrivals and services vary. Arrivals are taken as
Poisson. Jobs of equal length have a squared coefficient of variation of 0, a mixture of 480p and 720p about {CV2}, as
here. Edge, state and broker do not count: they take milliseconds a job.
"""


def page(rows: Iterable[Row]) -> str:
    """Return the content of the page; `rows` are those of the benchmark's part `waits`."""
    return "\n".join([HEAD, *_clusters(), *_against_queue(list(rows)), *_against_ideal()])


def _clusters() -> Iterator[str]:
    """Yield the table of clusters, and what follows from it for the queue."""
    yield "## Clusters that are needed\n"
    yield f"Each cluster is {RANKS} cards. A cell has the least clusters for which the mean wait is at most so long.\n"
    waits = [_time(wait_s) for wait_s in WAITS_S]
    yield f"| videos an hour | seconds a video | busy at least | {' | '.join(f'wait ≤ {wait}' for wait in waits)} |"
    yield "|---|---|---|" + "---|" * len(WAITS_S)
    for video_s in VIDEO_S:
        for an_hour in AN_HOUR:
            needed = [clusters_for(an_hour / 3600, video_s, wait_s, service_cv2=CV2) for wait_s in WAITS_S]
            cells = " | ".join(map(str, needed))
            yield f"| {an_hour} | {video_s} | {an_hour * video_s / 3600:.1f} | {cells} |"
    yield (
        "\n`MAX_CONCURRENT_TASKS` bounds waiting and running jobs together. With a mean wait of W and S seconds a\n"
        "video there are N · (W + S) / 3600 of them in the mean (Little's law); three times that refuses nearly none.\n"
    )


def _against_queue(rows: list[Row]) -> Iterator[str]:
    """Yield the table of the formula against the real queue."""
    yield "## The formula against the real queue\n"
    yield (
        "A trace of Poisson arrivals through the real broker, served by stand-ins for clusters that take 0.1 or 0.4 s "
        "a job.\nThe ideal queue has the same arrivals and services, and hands a job over in no time.\n"
    )
    if not rows:
        yield "Not measured yet: `just bench-service waits`.\n"
        return
    yield "| trace | queue, s | formula, s | queue ÷ formula (quartiles) | ideal, s | queue ÷ ideal (quartiles) |"
    yield "|---|---|---|---|---|---|"
    for formula, ideal in zip(rows[::2], rows[1::2], strict=True):
        assert formula.under is not None
        assert ideal.under is not None
        cells = [formula.what, _s(formula.over.median), _s(formula.under.median), _ratio(formula)]
        yield f"| {' | '.join([*cells, _s(ideal.under.median), _ratio(ideal)])} |"
    yield ""


def _against_ideal() -> Iterator[str]:
    """Yield the table of the formula against long traces, in which chance plays no part."""
    yield "## The formula against long traces\n"
    yield f"{LONG_JOBS:,} jobs each, through the ideal queue; waits in units of the mean service.\n"
    yield "| clusters | busy | simulated | formula | simulated ÷ formula |"
    yield "|---|---|---|---|---|"
    mean_s = sum(SERVICES_S) / len(SERVICES_S)
    for clusters, busy in LONG:
        per_s = clusters * busy / mean_s
        trace = poisson(LONG_JOBS, per_s, SERVICES_S, seed=random.Random(clusters).randrange(1000))
        waits = ideal_waits_s(clusters, trace.arrivals, trace.services)
        simulated = sum(waits) / len(waits) / mean_s
        formula = mean_wait_s(clusters, per_s, mean_s, service_cv2=cv2(SERVICES_S)) / mean_s
        yield f"| {clusters} | {busy:.0%} | {simulated:.3f} | {formula:.3f} | {simulated / formula:.2f} |"
    yield ""


def _s(seconds: float) -> str:
    return f"{seconds:.3f}"


def _ratio(row: Row) -> str:
    lower, upper = row.spread
    return f"{row.ratio:.2f} ({lower:.2f}–{upper:.2f})"


def _time(seconds: int) -> str:
    return f"{seconds} s" if seconds < 60 else f"{seconds // 60} min"


def main() -> None:
    """Write the page. Ends the process if the benchmark has left no results."""
    results = report.read(RESULTS / f"{NAME}.json")
    if results is None:
        sys.exit(f"{RESULTS / NAME}.json is not there: just bench-service writes it")
    PAGE.write_text(page(row for row in results.rows if row.part == "waits"), encoding="utf-8")
    print(f"wrote {PAGE.name}")


if __name__ == "__main__":
    main()
