"""Write the metrics of a process as Prometheus text or OpenMetrics text, by the Prometheus client library.

Imported when somebody asks for the text: the library takes longer to import than the rest of a small process.
"""

import platform
from collections.abc import Callable, Iterator
from importlib import metadata
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.utils import floatToGoString  # pyright: ignore[reportUnknownVariableType]

from contracts.process.metrics import Kind, Metric, Metrics, Spread

PACKAGE = "wanjet"
TEXT = "text/plain; version=0.0.4"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
BUILD = ("wanjet_build", "Version of WanJet and of Python, as labels; always 1.")

_FAMILIES: dict[Kind, Any] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}

# The library leaves these functions untyped.
_as_openmetrics: Callable[[CollectorRegistry], bytes] = openmetrics.generate_latest  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
_shown: Callable[[float], str] = floatToGoString  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]


def exposed(metrics: Metrics, accept: str, *, of_process: bool = True) -> tuple[bytes, str]:
    """Return the numbers of now, and their content type without a charset: the text that an `Accept` header asks for.

    Beside the process's own metrics there is the build, and with `of_process` what the library knows of any process
    (`process_…`).
    """
    registry = CollectorRegistry()
    registry.register(_Collector(metrics))
    if of_process:
        ProcessCollector(registry=registry)
    if "application/openmetrics-text" in accept:
        return _as_openmetrics(registry), OPENMETRICS
    return generate_latest(registry), TEXT


class _Collector:
    """The metrics of a process, as a collector of the library. One for each scrape."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Family]:
        """Yield each metric that has a series, and the build."""
        for metric in self._metrics.all.values():
            if (family := _family(metric)).samples:
                yield family
        build = GaugeMetricFamily(f"{BUILD[0]}_info", BUILD[1], labels=("version", "python"))
        build.add_metric((metadata.version(PACKAGE), platform.python_version()), 1)
        yield build


def _family(metric: Metric) -> Family:
    """Return a metric with its series of now, as the library has it."""
    family = _FAMILIES[metric.kind](metric.name.removesuffix("_total"), metric.help, labels=metric.labels)
    for labels, value in sorted(metric.read().items()):
        if isinstance(value, Spread):
            family.add_metric(labels, _buckets(metric.bounds, value), value.total)
        else:
            family.add_metric(labels, value)
    return family


def _buckets(bounds: tuple[float, ...], spread: Spread) -> list[tuple[str, float]]:
    """Return the buckets of a spread as Prometheus has them: each counts all values up to its bound."""
    names = [*map(_shown, bounds), "+Inf"]
    return list(zip(names, accumulate(spread.counts), strict=True))
