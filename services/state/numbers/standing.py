"""Name the metrics of how the service stands, and say how each follows from one look at it. For `families`. Pure."""

from collections.abc import Callable, Iterator, Mapping

from contracts.cluster import ClusterStatus
from contracts.process.metrics import OTHER, Labels
from services.state.numbers.look import Seen

CLUSTERS_MAX = 64
Series = Mapping[Labels, float]


def _cards(seen: Seen) -> Series:
    """Return the cards of the clusters by name, device and model; all beyond `CLUSTERS_MAX` together as `OTHER`."""
    return _summed(seen, lambda cluster: ((cluster.name, cluster.device, cluster.model), cluster.world_size))


def _card_bytes(seen: Seen) -> Series:
    """Return the memory of all cards of each cluster by its name; clusters that do not say it are left out."""
    known = [cluster for cluster in seen.clusters if cluster.room is not None]
    return _summed(
        seen,
        lambda each: ((each.name,), 0 if each.room is None else each.room.card_bytes * each.world_size),
        known,
    )


def _summed(
    seen: Seen, one: Callable[[ClusterStatus], tuple[Labels, float]], clusters: list[ClusterStatus] | None = None
) -> Series:
    """Return the sum of what `one` says of each cluster, by labels: two clusters may have the same name."""
    sums: dict[Labels, float] = {}
    for labels, value in map(one, seen.clusters if clusters is None else clusters):
        kept = labels if labels in sums or len(sums) < CLUSTERS_MAX else (OTHER,) * len(labels)
        sums[kept] = sums.get(kept, 0.0) + value
    return sums


def _of_streams(read: Callable[[str, Seen], float | None]) -> Callable[[Seen], Series]:
    """Return a function that gives the value of each stream by its name, without those that have none."""

    def series(seen: Seen) -> Iterator[tuple[Labels, float]]:
        for name in seen.streams:
            if (value := read(name, seen)) is not None:
                yield (name,), value

    return lambda seen: dict(series(seen))


def _limit(limit: int | None) -> float | None:
    """Return a stream's limit; None for none, as JetStream says by -1 or 0."""
    return float(limit) if limit is not None and limit > 0 else None


def _storage(at: int) -> Callable[[Seen], Series]:
    """Return a function that gives the account's bytes on disk (0) or their limit (1), if they are known."""
    return lambda seen: {} if seen.storage is None or seen.storage[at] < 0 else {(): seen.storage[at]}


SEEN: list[tuple[str, str, tuple[str, ...], Callable[[Seen], Series]]] = [
    ("wanjet_jobs_unfinished", "Jobs that wait or run.", (), lambda seen: {(): seen.queue.state.messages}),
    ("wanjet_jobs_limit", "Unfinished jobs admitted.", (), lambda seen: {(): seen.queue.config.max_msgs or 0}),
    (
        "wanjet_jobs_waiting",
        "Jobs that no cluster has been given.",
        (),
        lambda seen: {(): seen.inference.num_pending or 0},
    ),
    (
        "wanjet_jobs_running",
        "Jobs that live clusters work on.",
        (),
        lambda seen: {(): sum(len(cluster.current_jobs) for cluster in seen.clusters)},
    ),
    (
        "wanjet_oldest_waiting_job_age_seconds",
        "Age of the oldest job that no cluster has been given, 0 without one.",
        (),
        lambda seen: {(): seen.oldest_s},
    ),
    ("wanjet_clusters", "Live clusters.", (), lambda seen: {(): len(seen.clusters)}),
    (
        "wanjet_ranks",
        "Ranks of live clusters.",
        (),
        lambda seen: {(): sum(cluster.world_size for cluster in seen.clusters)},
    ),
    ("wanjet_cluster_cards", "Ranks of each cluster.", ("cluster", "device", "model"), _cards),
    ("wanjet_cluster_card_bytes", "Memory of all cards of each cluster that says it.", ("cluster",), _card_bytes),
    (
        "wanjet_state_lag_events",
        "Events that no status shows yet.",
        (),
        lambda seen: {(): seen.state.num_pending or 0},
    ),
    (
        "wanjet_state_held_events",
        "Events that a state has been given and has not acknowledged.",
        (),
        lambda seen: {(): seen.state.num_ack_pending or 0},
    ),
    (
        "wanjet_stream_messages",
        "Messages of each stream.",
        ("stream",),
        _of_streams(lambda name, seen: seen.streams[name].state.messages),
    ),
    (
        "wanjet_stream_limit_messages",
        "Messages that each stream may hold, of those that have a limit.",
        ("stream",),
        _of_streams(lambda name, seen: _limit(seen.streams[name].config.max_msgs)),
    ),
    (
        "wanjet_stream_bytes",
        "Size of each stream.",
        ("stream",),
        _of_streams(lambda name, seen: seen.streams[name].state.bytes),
    ),
    (
        "wanjet_stream_limit_bytes",
        "Size that each stream may have, of those that have a limit.",
        ("stream",),
        _of_streams(lambda name, seen: _limit(seen.streams[name].config.max_bytes)),
    ),
    ("wanjet_jetstream_storage_bytes", "Size of all streams of the account on disk.", (), _storage(0)),
    (
        "wanjet_jetstream_storage_limit_bytes",
        "Size that they may have, if the account has a limit.",
        (),
        _storage(1),
    ),
]
