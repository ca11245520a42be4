"""Count what a process does, for Prometheus: counters, gauges and histograms under names with labels.

Every process makes one `Metrics`, and gives it to the parts that count; `exposition` writes it as text. Needs no
package, since most processes count and are never scraped. For one thread: what another thread has to say is handed over
first.

A client's request may not make labels without end: of each metric `SERIES_MAX` series are kept, and all others count as
one, whose labels are `OTHER`.
"""

from bisect import bisect_left
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from time import monotonic
from typing import Literal

from msgspec import Struct

SERIES_MAX = 256
OTHER = "other"

QUICK_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of buckets, in seconds, for what answers a request."""
LONG_S = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0)
"""Upper bounds of buckets, in seconds, for jobs and their parts."""

Kind = Literal["counter", "gauge", "histogram"]
Labels = tuple[str, ...]


class Spread(Struct):
    """Values by bucket: `counts` has one entry for each upper bound and one for what is above all, `total` the sum."""

    counts: list[int]
    total: float = 0.0


class Metric(Struct, frozen=True):
    """Metric of a process. `help` says in a sentence what it is; `read` returns the value of each series by labels."""

    kind: Kind
    name: str
    help: str
    labels: tuple[str, ...]
    read: Callable[[], Mapping[Labels, float | Spread]]
    bounds: tuple[float, ...] = ()

    @property
    def sample_names(self) -> tuple[str, ...]:
        """Return the names of the time series that Prometheus makes of the metric."""
        if self.kind == "histogram":
            return tuple(f"{self.name}_{end}" for end in ("bucket", "sum", "count"))
        return (self.name,)


class Counter:
    """A count that never falls, by labels. Lives as long as its process."""

    def __init__(self, labels: int, known: Iterable[Labels]) -> None:
        self._labels = labels
        self.values: dict[Labels, float] = dict.fromkeys(known, 0.0)

    def add(self, *labels: str, by: float = 1.0) -> None:
        """Add to the series with these labels, one for each name that the counter has."""
        values = self.values
        if labels not in values:
            labels = _kept(labels, self._labels, len(values))
            values.setdefault(labels, 0.0)
        values[labels] += by


class Histogram:
    """Values counted by buckets, and by labels. Lives as long as its process."""

    def __init__(self, labels: int, bounds: tuple[float, ...]) -> None:
        self._labels, self._bounds = labels, bounds
        self.values: dict[Labels, Spread] = {}

    def observe(self, value: float, *labels: str) -> None:
        """Count a value in the series with these labels."""
        spread = self.values.get(labels)
        if spread is None:
            labels = _kept(labels, self._labels, len(self.values))
            spread = self.values.setdefault(labels, empty(self._bounds))
        note(spread, self._bounds, value)

    @contextmanager
    def timed(self, *labels: str) -> Generator[None, None, None]:
        """Count the seconds that the block takes, however it ends."""
        began = monotonic()
        try:
            yield
        finally:
            self.observe(monotonic() - began, *labels)


class Metrics:
    """Registry of one process's metrics, by name. Made once, at the process's start."""

    def __init__(self) -> None:
        self.all: dict[str, Metric] = {}

    def counter(self, name: str, help_: str, *labels: str, known: Iterable[Labels] = ()) -> Counter:
        """Return a new counter, whose `known` series are there from the start, with 0. Its name ends in `_total`."""
        counter = Counter(len(labels), known if labels else [()])
        self._add(Metric("counter", name, help_, labels, lambda: counter.values))
        return counter

    def histogram(self, name: str, help_: str, *labels: str, bounds: tuple[float, ...]) -> Histogram:
        """Return a new histogram with these upper bounds of buckets."""
        histogram = Histogram(len(labels), bounds)
        self._add(Metric("histogram", name, help_, labels, lambda: histogram.values, bounds))
        return histogram

    def read(
        self,
        kind: Kind,
        name: str,
        help_: str,
        *labels: str,
        by: Callable[[], Mapping[Labels, float | Spread]],
        bounds: tuple[float, ...] = (),
    ) -> None:
        """Have a metric whose series another object keeps: `by` is called at each scrape, and may return none."""
        self._add(Metric(kind, name, help_, labels, by, bounds))

    def gauge(self, name: str, help_: str, *, by: Callable[[], float]) -> None:
        """Have a gauge without labels, whose value `by` returns at each scrape."""
        self._add(Metric("gauge", name, help_, (), lambda: {(): by()}))

    def _add(self, metric: Metric) -> None:
        """Have a metric under a name that no other has. Raises `ValueError` otherwise."""
        if metric.name in self.all:
            raise ValueError(metric.name)
        self.all[metric.name] = metric


def empty(bounds: tuple[float, ...]) -> Spread:
    """Return a spread over buckets with these upper bounds that has counted nothing yet."""
    return Spread([0] * (len(bounds) + 1))


def note(spread: Spread, bounds: tuple[float, ...], value: float) -> None:
    """Count a value in a spread over buckets with these upper bounds."""
    spread.counts[bisect_left(bounds, value)] += 1
    spread.total += value


def _kept(labels: Labels, names: int, series: int) -> Labels:
    """Return the labels of the series that counts these labels: their own while there is room, else `OTHER`.

    Raises `ValueError` if they are not as many as the metric has names.
    """
    if len(labels) != names:
        raise ValueError(labels)
    return labels if series < SERIES_MAX else (OTHER,) * names
