"""The inventory of the broker: what each stream, bucket and durable holds, and who writes and reads it. Pure.

`ops.provision` puts it on the broker as descriptions and metadata, which `nats stream ls`, `nats kv ls` and
`nats consumer info` show. A test holds that nothing on the broker is missing here.
"""

from msgspec import Struct

from contracts import subjects
from contracts.subjects import bucket_stream

SCHEMA = "1"
"""The version of names, settings and messages on the broker. It changes if an older process could not work with them.
Fields that messages grow by change nothing."""

WRITERS, READERS, KEPT, VERSION = "wanjet.writers", "wanjet.readers", "wanjet.kept", "wanjet.schema"
"""Keys of the metadata."""
CHECK = "io.nats.monitor."
"""How the keys begin from which `nats server check` takes thresholds that its command line does not give."""


class Entry(Struct, frozen=True):
    """A stream, bucket or durable in words. `kept` says until when it has a message, or which setting says so.

    `checks` are thresholds of `nats server check`, by the names of its options.
    """

    holds: str
    writers: str
    readers: str
    kept: str
    checks: dict[str, str] = {}

    @property
    def description(self) -> str:
        """Return the line that a list of streams shows."""
        return f"WanJet: {self.holds}"

    @property
    def metadata(self) -> dict[str, str]:
        """Return the metadata, without the description."""
        checks = {f"{CHECK}{name}": threshold for name, threshold in self.checks.items()}
        return {WRITERS: self.writers, READERS: self.readers, KEPT: self.kept, VERSION: SCHEMA, **checks}


STREAMS: dict[str, Entry] = {
    subjects.EVENTS_STREAM: Entry(
        "the log: every event of every job, republished as video.live.>",
        "the broker (submissions), edge (cancellations, deletions), clusters (all else), state (what was lost)",
        "state, edge, clusters, and whoever wants to know",
        "EVENT_RETENTION, and LOG_BYTES_MAX for all together",
    ),
    subjects.JOBS_STREAM: Entry(
        "the queue: one message for each job that waits or runs",
        "edge; state, if the queue has lost a job",
        "clusters, by the durable inference",
        "the job's ending; at most MAX_CONCURRENT_TASKS at once",
    ),
    subjects.CANARY_STREAM: Entry(
        "a small message of each edge every 2 s, by which it knows that writes are acknowledged",
        "edge",
        "nobody",
        "a minute after the edge has gone",
    ),
    subjects.SLOTS_STREAM: Entry(
        "slots: one for each unfinished job of a tenant that may have only so many",
        "edge",
        "edge, state",
        "the job's ending: whoever publishes it (edge, cluster) removes the slot, and state what was left",
    ),
    subjects.WEBHOOKS_STREAM: Entry(
        "when the webhook of which job is due: the broker moves each message from scheduled to due",
        "webhooks",
        "webhooks, by the durable webhooks-due",
        "its try is made or put off",
    ),
    bucket_stream(subjects.STATUS_BUCKET): Entry(
        "the status of each job, folded from the log", "state", "edge", "TASK_RETENTION after the job's ending"
    ),
    bucket_stream(subjects.INDEX_BUCKET): Entry(
        "the list of jobs: each one's submission, in the log's order",
        "the broker, which copies it from the log",
        "edge",
        "EVENT_RETENTION, or until the job is deleted",
    ),
    bucket_stream(subjects.TOMBSTONES_BUCKET): Entry(
        "id and time of each deleted job, so that nothing brings it back",
        "edge",
        "edge, state, ops.rebuild",
        "a week longer than EVENT_RETENTION",
    ),
    bucket_stream(subjects.CLUSTERS_BUCKET): Entry(
        "the heartbeat of each live cluster",
        "clusters, every 2 s",
        "edge, clusters",
        "some seconds after the last heartbeat",
    ),
    bucket_stream(subjects.SECRETS_BUCKET): Entry(
        "the secret of idempotency keys", "provisioning, once", "edge", "for ever"
    ),
    bucket_stream(subjects.REPEATS_BUCKET): Entry(
        "which job a request without a key became, for clients that repeat one", "edge", "edge", "10 minutes"
    ),
    bucket_stream(subjects.KEYS_BUCKET): Entry(
        "each API key, as a hash, and the limits of each tenant", "ops.key", "edge, ops.key", "for ever"
    ),
    bucket_stream(subjects.COUNTERS_BUCKET): Entry("how many events could not be read", "state", "edge", "for ever"),
    bucket_stream(subjects.DELIVERIES_BUCKET): Entry(
        "what was tried and answered of each job's webhook", "webhooks", "webhooks, edge", "EVENT_RETENTION"
    ),
    bucket_stream(subjects.WEBHOOKS_BUCKET): Entry(
        "whether there is a webhook service", "webhooks, every 5 minutes", "edge", "an hour after the last sign of life"
    ),
    bucket_stream(subjects.NUMBERS_BUCKET): Entry(
        "which state serves the metrics of the whole service, and what it has counted",
        "state",
        "state",
        "for ever; 5 s after its last word for the state that serves them",
    ),
}
"""By the name of the stream; that of a bucket is `subjects.bucket_stream`."""

DURABLES: dict[str, Entry] = {
    subjects.INFERENCE_DURABLE: Entry(
        "jobs for clusters: pulled one at a time, acknowledged after their ending",
        "the broker",
        "rank 0 of every cluster",
        "the job's ending",
        {"redelivery-critical": "3"},
    ),
    subjects.STATE_DURABLE: Entry(
        "events for the state service: acknowledged once they are folded into statuses",
        "the broker",
        "every state",
        "the log keeps them",
        {"unprocessed-critical": "1000", "outstanding-ack-critical": "4096"},
    ),
    subjects.WEBHOOKS_DURABLE: Entry(
        "endings for webhooks: acknowledged once their delivery has begun",
        "the broker",
        "every webhook service",
        "the log keeps them",
    ),
    subjects.DUE_DURABLE: Entry(
        "webhooks that are due: acknowledged once their try is recorded",
        "webhooks, and the broker when it is time",
        "every webhook service",
        "its try is made or put off",
    ),
}
"""By the name of the durable consumer."""
