"""The configuration of every stream, bucket and durable, with its limits. `provision` creates them.

What each is for stands in `contracts.inventory`, and goes to the broker with it.
"""

from typing import Annotated

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

from contracts import inventory, subjects
from contracts.process.broker_settings import BrokerSettings
from contracts.process.settings import MIB, SECONDS_MAX, TASKS_MAX, TIB, MonitorUrl, Replicas
from contracts.words import form
from ops.buckets import DUPLICATE_WINDOW_S, buckets

JOB_BYTES_MAX = 64 * 1024
EVENT_BYTES_MAX = 64 * 1024
EVENTS_BYTES_MAX = 1024**3
CANARY_TTL_S = 60
CANARY_BYTES_MAX = 1024
WEBHOOKS_BYTES_MAX = 4 * 1024
SLOT_BYTES_MAX = 1024
SLOTS_MAX = 2 * TASKS_MAX
"""More than there are unfinished jobs: slots of jobs that were never published stay for seconds."""
UNLIMITED = -1
STREAM_BYTES_MIN = 64 * 1024
STATE_ACK_WAIT_S = 10
STATE_ACK_PENDING_MAX = 4096
"""Events that all state services together hold: `services.state.materialise.EVENTS_HELD_MAX` each."""

WEBHOOKS_ACK_WAIT_S = 10
WEBHOOKS_ACK_PENDING_MAX = 4096
"""Endings, and due webhooks, that all webhook services together hold."""

StreamBytes = Annotated[
    int,
    Meta(
        extra=form(
            f"0 for no limit, or a whole number from {STREAM_BYTES_MIN} to {TIB}",
            lambda size: size == 0 or STREAM_BYTES_MIN <= size <= TIB,
        )
    ),
]


class Settings(BrokerSettings, frozen=True):
    """The environment variables of `provision`. Sizes are in bytes, times in seconds."""

    nats_monitor_urls: tuple[MonitorUrl, ...] = ()
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
    named = _log(base, settings), _queue(base, settings), _canaries(base), _webhooks(base), _slots(base)
    made = *named, *buckets(base, event_retention_s=settings.event_retention)
    return [_described(each) for each in made]


def _described(config: StreamConfig) -> StreamConfig:
    """Return the configuration with the description and the metadata of the inventory."""
    entry = inventory.STREAMS[config.name or ""]
    return config.evolve(description=entry.description, metadata={**entry.metadata, **(config.metadata or {})})


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


def _webhooks(base: StreamConfig) -> StreamConfig:
    """Return the work queue of webhooks: scheduled ones, of which the broker makes due ones when it is time.

    A job has at most one message of either kind, the latest. nats-server takes no schedules with `discard=new`: with
    `STREAM_BYTES_MAX` the oldest would go, of some 400,000 in 64 MiB.
    """
    return base.evolve(
        name=subjects.WEBHOOKS_STREAM,
        subjects=[subjects.ALL_WEBHOOKS],
        retention=RetentionPolicy.WORK_QUEUE,
        allow_msg_schedules=True,
        max_msgs_per_subject=1,
        max_msg_size=WEBHOOKS_BYTES_MAX,
        duplicate_window=DUPLICATE_WINDOW_S,
    )


def _slots(base: StreamConfig) -> StreamConfig:
    """Return the stream of slots, which is neither republished nor pulled.

    A subject has no limit of its own: with `max_msgs_per_subject`, nats-server 2.15 brings a message back after kill -9
    that was published twice and then deleted.
    """
    return base.evolve(
        name=subjects.SLOTS_STREAM,
        subjects=[subjects.ALL_SLOTS],
        max_msgs=SLOTS_MAX,
        discard=DiscardPolicy.NEW,
        max_msg_size=SLOT_BYTES_MAX,
        duplicate_window=DUPLICATE_WINDOW_S,
    )


def consumers(settings: Settings) -> list[tuple[str, ConsumerConfig]]:
    """Return the wanted durables, each with the name of its stream."""
    # the queue's own limit bounds what clusters hold
    inference = _durable(subjects.INFERENCE_DURABLE, settings.ack_wait, UNLIMITED)
    state = _durable(subjects.STATE_DURABLE, STATE_ACK_WAIT_S, STATE_ACK_PENDING_MAX)
    webhooks = _durable(subjects.WEBHOOKS_DURABLE, WEBHOOKS_ACK_WAIT_S, WEBHOOKS_ACK_PENDING_MAX)
    due = _durable(subjects.DUE_DURABLE, WEBHOOKS_ACK_WAIT_S, WEBHOOKS_ACK_PENDING_MAX)
    return [
        (subjects.JOBS_STREAM, inference),
        (subjects.EVENTS_STREAM, state),
        (subjects.EVENTS_STREAM, webhooks.evolve(filter_subject=subjects.ALL_ENDINGS)),
        (subjects.WEBHOOKS_STREAM, due.evolve(filter_subject=subjects.ALL_DUE)),
    ]


def _durable(name: str, ack_wait_s: float, ack_pending_max: int) -> ConsumerConfig:
    """Return the configuration of a durable, with the description and the metadata of the inventory."""
    entry = inventory.DURABLES[name]
    return ConsumerConfig(
        durable_name=name,
        description=entry.description,
        metadata=entry.metadata,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=ack_wait_s,
        max_ack_pending=ack_pending_max,
        max_deliver=UNLIMITED,
    )
