"""Makes and corrects every stream, bucket and durable: `python -m ops.provision`. Idempotent; the only admin.

A changed `MAX_CONCURRENT_TASKS` is applied to the live stream; jobs above a lowered limit stay and drain.
"""

import asyncio
import json
import secrets
import sys
from contextlib import suppress
from urllib.request import urlopen

import msgspec
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DiscardPolicy,
    RePublish,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import NotFoundError

from contracts import bus, env, log, subjects
from contracts.bus import Bus, WrongSequence

DUPLICATE_WINDOW_S = 120
JOB_BYTES_MAX = 64 * 1024
EVENT_BYTES_MAX = 64 * 1024
STATUS_BYTES_MAX = 64 * 1024
EVENTS_BYTES_MAX = 1024**3
CLUSTER_TTL_S = 6
CANARY_TTL_S = 60
CANARY_BYTES_MAX = 1024
UNLIMITED = -1
STATE_ACK_WAIT_S = 10
STATE_ACK_PENDING_MAX = 1
SECRET_BYTES = 32
MONITOR_TIMEOUT_S = 5
GIVE_UP_S = 60


class Settings(msgspec.Struct, frozen=True):
    nats_url: str = "nats://127.0.0.1:4222"
    nats_creds: str | None = None
    nats_monitor_urls: tuple[str, ...] = ("http://127.0.0.1:8222",)
    nats_durability_unchecked: bool = False
    nats_replicas: int = 1
    max_concurrent_tasks: int = 5
    event_retention: float = 3 * 24 * 3600
    ack_wait: float = 30


def streams(settings: Settings) -> list[StreamConfig]:
    """The streams and buckets as they are to be; nats-py writes seconds as nanoseconds."""
    file = StreamConfig(storage=StorageType.FILE, num_replicas=settings.nats_replicas, allow_direct=True)
    bucket = file.evolve(max_msgs_per_subject=1, discard=DiscardPolicy.NEW, allow_rollup_hdrs=True)
    return [
        file.evolve(
            name=subjects.EVENTS_STREAM,
            subjects=[subjects.ALL_EVENTS],
            retention=RetentionPolicy.LIMITS,
            max_age=settings.event_retention,
            max_bytes=EVENTS_BYTES_MAX,
            max_msg_size=EVENT_BYTES_MAX,
            duplicate_window=min(DUPLICATE_WINDOW_S, settings.event_retention),
            republish=RePublish(src=subjects.ALL_EVENTS, dest=subjects.ALL_LIVE),
        ),
        file.evolve(
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
        ),
        file.evolve(
            name=subjects.CANARY_STREAM,
            subjects=[subjects.ALL_CANARIES],
            max_age=CANARY_TTL_S,
            max_msgs_per_subject=1,
            max_msg_size=CANARY_BYTES_MAX,
            duplicate_window=CANARY_TTL_S,
        ),
        bucket.evolve(
            name=subjects.bucket_stream(subjects.STATUS_BUCKET),
            subjects=[subjects.bucket_key(subjects.STATUS_BUCKET, ">")],
            max_msg_size=STATUS_BYTES_MAX,
            allow_msg_ttl=True,
        ),
        bucket.evolve(
            name=subjects.bucket_stream(subjects.CLUSTERS_BUCKET),
            subjects=[subjects.bucket_key(subjects.CLUSTERS_BUCKET, ">")],
            max_msg_size=STATUS_BYTES_MAX,
            max_age=CLUSTER_TTL_S,
            duplicate_window=CLUSTER_TTL_S,
        ),
        *(
            bucket.evolve(
                name=subjects.bucket_stream(name),
                subjects=[subjects.bucket_key(name, ">")],
                max_msg_size=STATUS_BYTES_MAX,
            )
            for name in (subjects.SECRETS_BUCKET, subjects.COUNTERS_BUCKET)
        ),
    ]


def consumers(settings: Settings) -> list[tuple[str, ConsumerConfig]]:
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


async def provision(broker: Bus, settings: Settings) -> None:
    """Bring the broker to the settings. The log comes first: the queue copies into it from its first message on."""
    for config in streams(settings):
        await _make_stream(broker, config)
    for stream, config in consumers(settings):
        await broker.admin.add_consumer(stream, config)
    with suppress(WrongSequence):  # made once, by whoever was first
        secret = secrets.token_bytes(SECRET_BYTES)
        await broker.put(subjects.SECRETS_BUCKET, subjects.IDEMPOTENCY_SECRET, secret, revision=0)


async def _make_stream(broker: Bus, config: StreamConfig) -> None:
    try:
        await broker.admin.stream_info(config.name or "")
    except NotFoundError:
        await broker.admin.add_stream(config)
    else:
        await broker.admin.update_stream(config)


def undurable(monitor_urls: tuple[str, ...]) -> list[str]:
    """The servers that do not fsync before they acknowledge, or do not say so."""
    return [url for url in monitor_urls if not _syncs_always(url)]


def _syncs_always(url: str) -> bool:
    try:
        with urlopen(f"{url.rstrip('/')}/jsz", timeout=MONITOR_TIMEOUT_S) as answer:  # noqa: S310  # operator's URL
            return json.load(answer).get("config", {}).get("sync_always") is True
    except (OSError, ValueError):
        return False


async def main() -> None:
    settings = env.read(Settings)
    log.configure("provision")
    async with (
        asyncio.timeout(GIVE_UP_S),
        bus.connect(settings.nats_url, name="provision", creds=settings.nats_creds) as broker,
    ):
        doubtful = [] if settings.nats_durability_unchecked else undurable(settings.nats_monitor_urls)
        if doubtful:
            sys.exit(
                f"{', '.join(doubtful)}: no `sync_interval: always` to be seen, so an acknowledged job could be lost "
                "with the power. Set it, or NATS_MONITOR_URLS, or NATS_DURABILITY_UNCHECKED=1 to go on regardless."
            )
        await provision(broker, settings)
    log.get().info("provisioned", max_concurrent_tasks=settings.max_concurrent_tasks, ack_wait_s=settings.ack_wait)


if __name__ == "__main__":
    asyncio.run(main())
