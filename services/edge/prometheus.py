"""The numbers of a health report as text for Prometheus to scrape. `probes` answers `/metrics` with it."""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.openmetrics import exposition

from services.edge.health import Health

# The library leaves this function untyped.
_openmetrics: Callable[[CollectorRegistry], bytes] = exposition.generate_latest  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def prometheus(health: Health, *, openmetrics: bool) -> bytes:
    """Return the numbers of a health report as Prometheus text, or as OpenMetrics text."""
    registry = CollectorRegistry()
    registry.register(_Numbers(health))
    return _openmetrics(registry) if openmetrics else generate_latest(registry)


class _Numbers:
    """The numbers of one scrape, as a collector of the Prometheus client library. One for each scrape."""

    def __init__(self, health: Health) -> None:
        self._health = health

    def collect(self) -> Iterator[Metric]:
        """Yield each number with its name and its meaning."""
        seen = self._health
        yield CounterMetricFamily(
            "wanjet_jobs_accepted", "Jobs accepted since the queue began.", seen.service.total_tasks
        )
        yield GaugeMetricFamily("wanjet_jobs_unfinished", "Jobs waiting or running.", seen.resources.concurrent_tasks)
        yield GaugeMetricFamily("wanjet_jobs_limit", "Unfinished jobs admitted.", seen.resources.max_concurrent)
        yield GaugeMetricFamily("wanjet_clusters", "Live clusters.", len(seen.clusters))
        yield GaugeMetricFamily("wanjet_ranks", "Ranks of live clusters.", seen.world_size)
        running = sum(cluster.jobs_running for cluster in seen.clusters)
        yield GaugeMetricFamily("wanjet_jobs_running", "Jobs that live clusters work on.", running)
        yield GaugeMetricFamily("wanjet_state_lag_events", "Events that no status shows yet.", seen.state_lag)
        set_aside = seen.events_set_aside
        yield CounterMetricFamily("wanjet_events_set_aside", "Events that could not be read.", set_aside)
        yield GaugeMetricFamily("wanjet_edge_uptime_seconds", "Age of this edge.", seen.uptime)
