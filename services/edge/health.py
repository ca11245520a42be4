"""The health of the whole service, from the broker's numbers and the clusters' heartbeats: for people and programs.

`probes` asks for it. The structs here are the bodies of `/health` and `/metrics`.
"""

import time

from msgspec import Struct

from contracts import subjects
from contracts.broker import Bus
from contracts.cluster import ClusterStatus
from contracts.plan import Plan
from contracts.stores import Trouble

STATE_LAG_EVENTS_MAX = 100
STATE_LAG_S_MAX = 30.0
"""How old the oldest event may be that the state service has not folded: a restart and the events in hand take less."""
DURABILITY = "wanjet.durability"
CHECKED = "checked"
NOBODY_WORKS = "no cluster is there: jobs wait"
UNCHECKED = "whether the broker syncs what it acknowledges is unchecked (NATS_DURABILITY_UNCHECKED)"


class Service(Struct, frozen=True):
    """Totals of the service. `pipeline_rank` is for clients of the original API."""

    total_tasks: int
    pipeline_world_size: int
    pipeline_rank: int = 0


class Resources(Struct, frozen=True):
    """Places for unfinished jobs: taken, admitted, and free."""

    concurrent_tasks: int
    max_concurrent: int
    available_slots: int


class System(Struct, frozen=True):
    """The sum of all clusters, and the age of this edge in seconds. `rank` is for clients of the original API."""

    world_size: int
    uptime: float
    rank: int = 0


class ClusterSeen(Struct, frozen=True, kw_only=True):
    """A cluster as the public may see it, with counts of jobs and no ids: whoever knows an id can cancel the job."""

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
    """The body of `/health`.

    `status` is "healthy", "unhealthy", or "degraded": no cluster works, statuses lag, the broker's durability is
    unchecked, or the broker or a store takes no writes. `auth` is the setting `AUTH`. `reasons` has a sentence for each
    cause, without addresses or paths. `stores` has a sentence for each store that is at fault.
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
    auth: str = "off"
    stores: list[str] = []
    clusters: list[ClusterSeen] = []


class Metrics(Struct, frozen=True, kw_only=True):
    """The body of `/metrics` in JSON."""

    timestamp: float
    service: Service
    resources: Resources
    system: System
    state_lag: int
    events_set_aside: int
    clusters: list[ClusterSeen]


def unhealthy(began: float, reason: str) -> Health:
    """Return the health of a service whose broker does not answer, so that nothing else is known.

    `began` is the start of this edge by the monotonic clock, and `reason` a sentence that is safe to show.
    """
    return Health(status="unhealthy", reasons=[reason], timestamp=time.time(), uptime=_since(began))


async def health(
    broker: Bus, clusters: list[ClusterStatus], troubles: list[Trouble], began: float, objection: str | None
) -> Health:
    """Return the health of a service whose broker answers: "healthy", or "degraded" with the reasons.

    `objection` is why the broker takes no submission now, or None; `troubles` are the faults of stores. `began` is
    the start of this edge by the monotonic clock. Raises `NotFoundError`, `APIError` or `Unavailable`.
    """
    queue = await broker.stream(subjects.JOBS_STREAM)
    lag, lag_s = await _state_lag(broker)
    unfinished, limit = queue.state.messages, queue.config.max_msgs or 0
    world_size = sum(cluster.world_size for cluster in clusters)
    durability = (queue.config.metadata or {}).get(DURABILITY, "unknown")
    reasons = [] if objection is None else [objection]
    reasons += [trouble.plain for trouble in troubles]
    reasons += [] if clusters else [NOBODY_WORKS]
    if lag > STATE_LAG_EVENTS_MAX or lag_s > STATE_LAG_S_MAX:
        reasons += [f"the state service is {lag} events behind: statuses lag"]
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


async def _state_lag(broker: Bus) -> tuple[int, float]:
    """Return how many events the state service has not folded, and the age of the oldest in seconds; 0 for none.

    Events count that it has in hand: one that hangs has some there for good.
    """
    durable = await broker.consumer(subjects.EVENTS_STREAM, subjects.STATE_DURABLE)
    events = (durable.num_pending or 0) + (durable.num_ack_pending or 0)
    if not events:
        return 0, 0.0
    folded = 0 if durable.ack_floor is None else durable.ack_floor.stream_seq
    found, _ = await broker.page(subjects.EVENTS_STREAM, subjects.ALL_EVENTS, after=folded, at_most=1)
    return events, await broker.now() - found[0].at if found else 0.0


def _shown(cluster: ClusterStatus) -> ClusterSeen:
    """Return the public part of a heartbeat."""
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
    """Return the numbers of a health report, in the shape of the original API."""
    return Metrics(
        timestamp=health.timestamp,
        service=health.service,
        resources=health.resources,
        system=System(world_size=health.world_size, uptime=health.uptime),
        state_lag=health.state_lag,
        events_set_aside=health.events_set_aside,
        clusters=health.clusters,
    )


def _since(began: float) -> float:
    """Return the seconds since a time of the monotonic clock, to a millisecond."""
    return round(time.monotonic() - began, 3)
