"""Makes and corrects every stream, bucket and durable: `python -m ops.provision`. Idempotent; the only admin.

A changed `MAX_CONCURRENT_TASKS` is applied to the live stream; jobs above a lowered limit stay and drain.
"""

import asyncio
import json
import secrets
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from urllib.request import urlopen

import msgspec
import nats.errors
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DiscardPolicy,
    RePublish,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import APIError, NotFoundError

from contracts import env, log, subjects
from contracts.bus import Bus, Unavailable, WrongSequence
from ops.broker import Settings as Server
from ops.broker import connected

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
RETRY_PAUSE_S = 0.5

_NOT_YET = (None, 10004, 10005, 10008, 10009, 10118, 10119)
"""JetStream's errors of a cluster whose servers have not all met, or that has no leader; None for no responders."""


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
    """Bring the broker to the settings. The log comes first: the queue copies into it from its first message on.

    What gets no answer, or finds no leader, is tried again for up to `GIVE_UP_S`: brokers that have just started need a
    while. Raises `Unavailable` after that, and `APIError` at once if the broker refuses.
    """
    deadline = asyncio.get_running_loop().time() + GIVE_UP_S
    for config in streams(settings):
        await _insist(partial(_make_stream, broker, config), f"making {config.name}", deadline)
    for stream, config in consumers(settings):
        make = partial(broker.admin.add_consumer, stream, config)
        await _insist(make, f"making the consumer {config.durable_name} of {stream}", deadline)
    await _insist(partial(_make_secret, broker), "making the secret of idempotency keys", deadline)


async def _insist(request: Callable[[], Awaitable[object]], what: str, deadline: float) -> None:
    """Make a request until it is answered. Making a stream, a consumer or the secret twice changes nothing."""
    while True:
        try:
            await request()
        except APIError as error:
            if error.err_code not in _NOT_YET:
                raise
            problem: Exception = error
        except (nats.errors.Error, Unavailable, OSError) as error:
            problem = error
        else:
            return
        if asyncio.get_running_loop().time() >= deadline:
            raise Unavailable(f"{what}: {problem}") from problem
        log.get().warning("provisioning_tried_again", what=what, error=str(problem))
        await asyncio.sleep(RETRY_PAUSE_S)


async def _make_secret(broker: Bus) -> None:
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
    where = Server(nats_url=settings.nats_url, nats_creds=settings.nats_creds)
    async with connected(where, name="provision", within_s=GIVE_UP_S) as broker:
        doubtful = [] if settings.nats_durability_unchecked else undurable(settings.nats_monitor_urls)
        if doubtful:
            sys.exit(
                f"{', '.join(doubtful)}: no `sync_interval: always` to be seen, so an acknowledged job could be lost "
                "with the power. Set it, or NATS_MONITOR_URLS, or NATS_DURABILITY_UNCHECKED=1 to go on regardless."
            )
        try:
            await provision(broker, settings)
        except APIError as refusal:
            sys.exit(f"the broker refuses: {refusal.description} (code {refusal.err_code})")
        except Unavailable as error:
            sys.exit(f"the broker gave no answer for {GIVE_UP_S} s: {error}")
    log.get().info("provisioned", max_concurrent_tasks=settings.max_concurrent_tasks, ack_wait_s=settings.ack_wait)


if __name__ == "__main__":
    asyncio.run(main())
