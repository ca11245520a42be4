"""Measures one window of load on a server, and makes rows of the windows of several sides.

Parts call `window` by turns (`ops.bench.turns.by_turns`) and `rows_of` on what that returns.
"""

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec
from msgspec import Struct

from ops.bench.report.row import Aim, Row, Series
from ops.bench.service.client import Plan, Tally
from ops.bench.service.processes import Cores, Process
from ops.bench.turns import say
from ops.local.paths import REPOSITORY


class Window(Struct, frozen=True):
    """The figures of one window: by the clock, and milliseconds of CPU time for each request.

    `cpu_ms` is of the server under test and all its children, `broker_ms` of the broker beside it.
    """

    per_s: float
    p50_ms: float
    p99_ms: float
    slowest_ms: float
    cpu_ms: float
    broker_ms: float
    bytes_per_s: float
    generator_cpu: float


class Metric(NamedTuple):
    """A figure of a window: its field, its unit, and how a row calls it."""

    field: str
    unit: str
    what: str


RATE = Metric("per_s", "/s", "requests a second")
P50 = Metric("p50_ms", "ms", "p50")
P99 = Metric("p99_ms", "ms", "p99")
CPU = Metric("cpu_ms", "CPU ms", "CPU a request")


def window(plan: Plan, cores: Cores, *servers: Process, broker: Process | None = None) -> Window:
    """Run the load on the cores of the rest, and return the figures of the window.

    Ends the process if an answer was wrong; answers that refuse for want of room do not count as requests.
    """
    before = sum(server.cpu_ms for server in servers)
    broker_before = 0.0 if broker is None else broker.cpu_ms
    tally = _run(plan, cores)
    spent = sum(server.cpu_ms for server in servers) - before
    broker_spent = 0.0 if broker is None else broker.cpu_ms - broker_before
    if tally.wrong or not tally.done:
        sys.exit(f"{plan.targets[0]}: {tally.done} right answers, {tally.wrong} wrong, such as {tally.example}")
    if tally.refused:
        say(
            f"{plan.targets[0]}: {tally.refused} of {tally.refused + tally.done} requests were refused for want of room"
        )
    return Window(
        per_s=tally.done / tally.seconds,
        p50_ms=tally.p50_ms,
        p99_ms=tally.p99_ms,
        slowest_ms=tally.slowest_ms,
        cpu_ms=spent / tally.done,
        broker_ms=broker_spent / tally.done,
        bytes_per_s=tally.bytes / tally.seconds,
        generator_cpu=tally.generator_cpu,
    )


def _run(plan: Plan, cores: Cores) -> Tally:
    """Run the generator to its end. Raises `subprocess.CalledProcessError`."""
    done = subprocess.run(
        ["taskset", "-c", cores.rest, sys.executable, "-m", "ops.bench.service.client"],
        cwd=REPOSITORY,
        input=msgspec.json.encode(plan),
        stdout=subprocess.PIPE,
        check=True,
    )
    return msgspec.json.decode(done.stdout, type=Tally)


class Against(NamedTuple):
    """A comparison to make: the sides' names, the figure, and the aim if the acceptance has one."""

    over: str
    under: str
    metric: Metric
    aim: Aim | None = None


def rows_of(part: str, what: str, samples: Mapping[str, Sequence[Struct]], wanted: Sequence[Against]) -> Iterator[Row]:
    """Yield a row for each wanted comparison whose two sides were measured."""
    for over, under, metric, aim in wanted:
        if over in samples and under in samples:
            above, below = (series(name, samples[name], metric) for name in (over, under))
            yield Row(part=part, what=f"{what}, {metric.what}", unit=metric.unit, over=above, under=below, aim=aim)


def series(name: str, windows: Sequence[Struct], metric: Metric) -> Series:
    """Return a figure of each window."""
    return Series(name, [getattr(each, metric.field) for each in windows])
