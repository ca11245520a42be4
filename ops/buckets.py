"""The configuration of the streams behind the KV buckets, with their limits. `streams` adds them to the others."""

from nats.js.api import DiscardPolicy, StreamConfig, StreamSource, SubjectTransform

from contracts import subjects
from contracts.api_key import ENTRY_BYTES_MAX, KEYS_MAX

DUPLICATE_WINDOW_S = 120
STATUS_BYTES_MAX = 64 * 1024
CLUSTER_TTL_S = 6
REPEATS_TTL_S = 600
"""How long the repeat of a request without a key is the same job."""
REPEATS_MAX = 100_000
WEBHOOKS_SEEN_S = 3600
"""How long edges take webhooks after the last sign of life of a webhook service."""
TOMBSTONE_BYTES_MAX = 1024
TOMBSTONES_OUTLIVE_LOG_S = 7 * 24 * 3600
"""How much longer tombstones are kept than events: records of a deleted job that a store held back go meanwhile."""


def _index(bucket: StreamConfig, event_retention_s: float) -> StreamConfig:
    """Return the bucket with each job's submission, which the broker copies from the log in the log's order.

    It has no subject of its own, so that nobody else can write to it.
    """
    into = SubjectTransform(src=subjects.ALL_SUBMISSIONS, dest=subjects.SUBMISSIONS_INTO_INDEX)
    return bucket.evolve(
        subjects=None,
        discard=DiscardPolicy.OLD,
        max_age=event_retention_s,
        duplicate_window=min(DUPLICATE_WINDOW_S, event_retention_s),
        sources=[StreamSource(name=subjects.EVENTS_STREAM, subject_transforms=[into])],
    )


def _tombstones(bucket: StreamConfig, event_retention_s: float) -> StreamConfig:
    """Return the bucket of tombstones of deleted jobs, which outlives every event and record."""
    return bucket.evolve(max_age=event_retention_s + TOMBSTONES_OUTLIVE_LOG_S, max_msg_size=TOMBSTONE_BYTES_MAX)


def buckets(base: StreamConfig, *, event_retention_s: float) -> list[StreamConfig]:
    """Return the streams behind the KV buckets; `contracts.inventory` says what each holds."""
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
        named(subjects.DELIVERIES_BUCKET).evolve(
            max_age=event_retention_s, duplicate_window=min(DUPLICATE_WINDOW_S, event_retention_s)
        ),
        named(subjects.WEBHOOKS_BUCKET).evolve(max_age=WEBHOOKS_SEEN_S),
        _index(named(subjects.INDEX_BUCKET), event_retention_s),
        _tombstones(named(subjects.TOMBSTONES_BUCKET), event_retention_s),
        named(subjects.REPEATS_BUCKET).evolve(max_age=REPEATS_TTL_S, max_msgs=REPEATS_MAX, discard=DiscardPolicy.OLD),
        named(subjects.KEYS_BUCKET).evolve(max_msgs=KEYS_MAX, max_msg_size=ENTRY_BYTES_MAX),
        named(subjects.NUMBERS_BUCKET).evolve(allow_msg_ttl=True),
    ]
