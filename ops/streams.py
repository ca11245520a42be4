"""The configuration of every stream, bucket and durable, with its limits. `provision` creates them."""

from typing import Annotated

import msgspec
from msgspec import Meta
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DiscardPolicy,
    RePublish,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)

from contracts import subjects
from contracts.process.settings import MIB, SECONDS_MAX, TASKS_MAX, TIB, MonitorUrl, NatsCreds, NatsUrl, Replicas
from contracts.words import form

DUPLICATE_WINDOW_S = 120
JOB_BYTES_MAX = 64 * 1024
EVENT_BYTES_MAX = 64 * 1024
STATUS_BYTES_MAX = 64 * 1024
EVENTS_BYTES_MAX = 1024**3
CLUSTER_TTL_S = 6
CANARY_TTL_S = 60
CANARY_BYTES_MAX = 1024
UNLIMITED = -1
STREAM_BYTES_MIN = 64 * 1024
STATE_ACK_WAIT_S = 10
STATE_ACK_PENDING_MAX = 4096
"""Events that all state services together hold: `services.state.materialise.EVENTS_HELD_MAX` each."""

StreamBytes = Annotated[
    int,
    Meta(
        extra=form(
            f"0 for no limit, or a whole number from {STREAM_BYTES_MIN} to {TIB}",
            lambda size: size == 0 or STREAM_BYTES_MIN <= size <= TIB,
        )
    ),
]


class Settings(msgspec.Struct, frozen=True):
    """The environment variables of `provision`. Sizes are in bytes, times in seconds."""

    nats_url: NatsUrl = "nats://127.0.0.1:4222"
    nats_creds: NatsCreds = None
    nats_monitor_urls: tuple[MonitorUrl, ...] = ("http://127.0.0.1:8222",)
    nats_durability_unchecked: bool = False
    nats_replicas: Replicas = 1
    max_concurrent_tasks: Annotated[int, Meta(ge=1, le=TASKS_MAX)] = 5
    event_retention: Annotated[float, Meta(ge=1, le=SECONDS_MAX)] = 3 * 24 * 3600
    ack_wait: Annotated[float, Meta(ge=1, le=3600)] = 30
    log_bytes_max: Annotated[int, Meta(ge=MIB, le=TIB)] = EVENTS_BYTES_MAX
    stream_bytes_max: StreamBytes = 0


def streams(settings: Settings) -> list[StreamConfig]:
    """Return the wanted streams and buckets, in the order to create them; nats-py turns seconds into nanoseconds."""
    base = StreamConfig(
        storage=StorageType.FILE,
        num_replicas=settings.nats_replicas,
        allow_direct=True,
        max_bytes=settings.stream_bytes_max or UNLIMITED,
    )
    return [_log(base, settings), _queue(base, settings), _canaries(base), *_buckets(base)]


def _log(base: StreamConfig, settings: Settings) -> StreamConfig:
    """Return the stream of events; it republishes each event, so that a cluster hears of a cancellation at once.

    `base` has the fields that all streams share, here and below.
    """
    return base.evolve(
        name=subjects.EVENTS_STREAM,
        subjects=[subjects.ALL_EVENTS],
        retention=RetentionPolicy.LIMITS,
        max_age=settings.event_retention,
        max_bytes=settings.log_bytes_max,
        max_msg_size=EVENT_BYTES_MAX,
        duplicate_window=min(DUPLICATE_WINDOW_S, settings.event_retention),
        republish=RePublish(src=subjects.ALL_EVENTS, dest=subjects.ALL_LIVE),
    )


def _queue(base: StreamConfig, settings: Settings) -> StreamConfig:
    """Return the work queue: one message a job, refused beyond `max_concurrent_tasks`, and copied into the log."""
    return base.evolve(
        name=subjects.JOBS_STREAM,
        subjects=[subjects.ALL_JOBS],
        retention=RetentionPolicy.WORK_QUEUE,
        max_msgs=settings.max_concurrent_tasks,
        discard=DiscardPolicy.NEW,
        max_msgs_per_subject=1,
        discard_new_per_subject=True,
        max_msg_size=JOB_BYTES_MAX,
        duplicate_window=DUPLICATE_WINDOW_S,
        republish=RePublish(src=subjects.ALL_JOBS, dest=subjects.JOBS_INTO_LOG),
        metadata={"wanjet.durability": "unchecked" if settings.nats_durability_unchecked else "checked"},
    )


def _canaries(base: StreamConfig) -> StreamConfig:
    """Return the stream to which each edge writes its canary, to learn whether the broker stores messages."""
    return base.evolve(
        name=subjects.CANARY_STREAM,
        subjects=[subjects.ALL_CANARIES],
        max_age=CANARY_TTL_S,
        max_msgs_per_subject=1,
        max_msg_size=CANARY_BYTES_MAX,
        duplicate_window=CANARY_TTL_S,
    )


def _buckets(base: StreamConfig) -> list[StreamConfig]:
    """Return the streams behind the KV buckets: statuses, heartbeats of clusters, the secret, and counters."""
    bucket = base.evolve(
        max_msgs_per_subject=1, discard=DiscardPolicy.NEW, allow_rollup_hdrs=True, max_msg_size=STATUS_BYTES_MAX
    )

    def named(name: str) -> StreamConfig:
        return bucket.evolve(name=subjects.bucket_stream(name), subjects=[subjects.bucket_key(name, ">")])

    return [
        named(subjects.STATUS_BUCKET).evolve(allow_msg_ttl=True),
        named(subjects.CLUSTERS_BUCKET).evolve(max_age=CLUSTER_TTL_S, duplicate_window=CLUSTER_TTL_S),
        named(subjects.SECRETS_BUCKET),
        named(subjects.COUNTERS_BUCKET),
    ]


def consumers(settings: Settings) -> list[tuple[str, ConsumerConfig]]:
    """Return the wanted durables, each with the name of its stream."""
    explicit = ConsumerConfig(ack_policy=AckPolicy.EXPLICIT, max_deliver=UNLIMITED)
    return [
        (
            subjects.JOBS_STREAM,
            explicit.evolve(
                durable_name=subjects.INFERENCE_DURABLE,
                ack_wait=settings.ack_wait,
                max_ack_pending=UNLIMITED,  # the stream's own limit bounds it
            ),
        ),
        (
            subjects.EVENTS_STREAM,
            explicit.evolve(
                durable_name=subjects.STATE_DURABLE, ack_wait=STATE_ACK_WAIT_S, max_ack_pending=STATE_ACK_PENDING_MAX
            ),
        ),
    ]
