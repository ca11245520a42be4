"""What the edge says of the whole service, from the broker's own numbers: for people, probes and Prometheus."""

import time
from collections.abc import Callable, Iterator

from msgspec import Struct
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.openmetrics import exposition

from contracts import subjects
from contracts.broker import Bus
from contracts.cluster import ClusterStatus
from contracts.plan import Plan
from contracts.stores import Trouble

# The library leaves this one untyped.
_openmetrics: Callable[[CollectorRegistry], bytes] = exposition.generate_latest  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]

STATE_LAG_EVENTS_MAX = 100
DURABILITY = "wanjet.durability"
CHECKED = "checked"
NOBODY_WORKS = "no cluster is there: jobs wait"
UNCHECKED = "whether the broker syncs what it acknowledges is unchecked (NATS_DURABILITY_UNCHECKED)"


class Service(Struct, frozen=True):
    total_tasks: int
    pipeline_world_size: int
    pipeline_rank: int = 0


class Resources(Struct, frozen=True):
    concurrent_tasks: int
    max_concurrent: int
    available_slots: int


class System(Struct, frozen=True):
    world_size: int
    uptime: float
    rank: int = 0


class ClusterSeen(Struct, frozen=True, kw_only=True):
    """A cluster as anybody may see it. Whoever knows a job's id can cancel it, so there are counts here and no ids."""

    name: str
    device: str
    world_size: int
    model: str
    weights: str
    sizes: list[str]
    default_size: str
    heads: int
    plan: Plan
    jobs_running: int
    started_at: float
    at: float


class Health(Struct, frozen=True, kw_only=True):
    """`status` is degraded while nobody works, state lags, durability went unchecked, or something takes no writes.

    `reasons` says why it is not healthy, in sentences without addresses or paths. `stores` says what is wrong with
    which store; nothing for those that are well.
    """

    status: str
    reasons: list[str] = []
    timestamp: float
    uptime: float
    rank: int = 0
    world_size: int = 0
    service: Service = Service(0, 0)
    resources: Resources = Resources(0, 0, 0)
    state_lag: int = 0
    events_set_aside: int = 0
    durability: str = "unknown"
    stores: list[str] = []
    clusters: list[ClusterSeen] = []


class Metrics(Struct, frozen=True, kw_only=True):
    timestamp: float
    service: Service
    resources: Resources
    system: System
    state_lag: int
    events_set_aside: int
    clusters: list[ClusterSeen]


def unhealthy(began: float, reason: str) -> Health:
    """Without a broker nothing else is known."""
    return Health(status="unhealthy", reasons=[reason], timestamp=time.time(), uptime=_since(began))


async def health(
    broker: Bus, clusters: list[ClusterStatus], troubles: list[Trouble], began: float, objection: str | None
) -> Health:
    """Return the broker's own numbers; `objection` says why it would take no submission, None if it would."""
    queue = await broker.stream(subjects.JOBS_STREAM)
    state = await broker.consumer(subjects.EVENTS_STREAM, subjects.STATE_DURABLE)
    unfinished, limit = queue.state.messages, queue.config.max_msgs or 0
    world_size = sum(cluster.world_size for cluster in clusters)
    lag = state.num_pending or 0
    durability = (queue.config.metadata or {}).get(DURABILITY, "unknown")
    reasons = [] if objection is None else [objection]
    reasons += [trouble.plain for trouble in troubles]
    reasons += [] if clusters else [NOBODY_WORKS]
    reasons += [f"the state service is {lag} events behind: statuses lag"] if lag > STATE_LAG_EVENTS_MAX else []
    reasons += [] if durability == CHECKED else [UNCHECKED]
    return Health(
        status="degraded" if reasons else "healthy",
        reasons=reasons,
        timestamp=time.time(),
        uptime=_since(began),
        world_size=world_size,
        service=Service(total_tasks=queue.state.last_seq, pipeline_world_size=world_size),
        resources=Resources(unfinished, limit, max(0, limit - unfinished)),
        state_lag=lag,
        events_set_aside=await broker.count(subjects.COUNTERS_BUCKET, subjects.EVENTS_SET_ASIDE),
        durability=durability,
        stores=[trouble.plain for trouble in troubles],
        clusters=[_shown(cluster) for cluster in clusters],
    )


def _shown(cluster: ClusterStatus) -> ClusterSeen:
    """Return what is shown of a heartbeat."""
    return ClusterSeen(
        name=cluster.name,
        device=cluster.device,
        world_size=cluster.world_size,
        model=cluster.model,
        weights=cluster.weights,
        sizes=cluster.sizes,
        default_size=cluster.default_size,
        heads=cluster.heads,
        plan=cluster.plan,
        jobs_running=len(cluster.current_jobs),
        started_at=cluster.started_at,
        at=cluster.at,
    )


def metrics(health: Health) -> Metrics:
    return Metrics(
        timestamp=health.timestamp,
        service=health.service,
        resources=health.resources,
        system=System(world_size=health.world_size, uptime=health.uptime),
        state_lag=health.state_lag,
        events_set_aside=health.events_set_aside,
        clusters=health.clusters,
    )


def prometheus(health: Health, *, openmetrics: bool) -> bytes:
    registry = CollectorRegistry()
    registry.register(_Numbers(health))
    return _openmetrics(registry) if openmetrics else generate_latest(registry)


class _Numbers:
    """One scrape's numbers, in the shape that the client library asks for."""

    def __init__(self, health: Health) -> None:
        self._health = health

    def collect(self) -> Iterator[Metric]:
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


def _since(began: float) -> float:
    return round(time.monotonic() - began, 3)
