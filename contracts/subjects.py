"""The names on the broker: streams, buckets, durables, subjects and message ids. No other module spells one. Pure."""

from contracts.event_names import ENDED_WITH_WORDS, KINDS, kind_of
from contracts.events import Event

JOBS_STREAM = "VIDEO_JOBS"
EVENTS_STREAM = "VIDEO_EVENTS"
CANARY_STREAM = "VIDEO_CANARY"
WEBHOOKS_STREAM = "VIDEO_WEBHOOKS"
SLOTS_STREAM = "VIDEO_SLOTS"
STATUS_BUCKET = "video-status"
CLUSTERS_BUCKET = "video-clusters"
COUNTERS_BUCKET = "video-counters"
SECRETS_BUCKET = "video-secrets"
DELIVERIES_BUCKET = "video-deliveries"
WEBHOOKS_BUCKET = "video-webhooks"
WEBHOOKS_SERVICE = "service"  # its key in the bucket, there while webhook services are
INDEX_BUCKET = "video-index"
TOMBSTONES_BUCKET = "video-tombstones"
REPEATS_BUCKET = "video-repeats"
NUMBERS_BUCKET = "video-numbers"
KEYS_BUCKET = "video-keys"
KEYS_OF_KEYS, KEYS_OF_TENANTS = "key.", "tenant."  # how its keys begin
NUMBERS_HOLDER, NUMBERS_COUNTS = "holder", "counts"  # its keys: which state serves the numbers, what it has counted
EVENTS_SET_ASIDE = "events-set-aside"  # its key in the bucket of counters
IDEMPOTENCY_SECRET = "idempotency"  # noqa: S105  # its key in the bucket

INFERENCE_DURABLE = "inference"
STATE_DURABLE = "state"
WEBHOOKS_DURABLE = "webhooks"
DUE_DURABLE = "webhooks-due"

LANE = "default"
REQUEUED_LANE = "lost"  # for jobs that the queue had lost
ALL_JOBS = "video.jobs.*.*"
ALL_EVENTS = "video.events.>"
ALL_SUBMISSIONS = "video.events.*.submitted"
ALL_ENDINGS = "video.events.*.finished.*"
ALL_DELETIONS = "video.events.*.finished.deleted"
ALL_STARTS = "video.events.*.started"
ALL_RELEASES = "video.events.*.released"
ALL_SUCCESSES = "video.events.*.finished.succeeded"
ALL_CANARIES = "video.canary.*"
ALL_WEBHOOKS = "video.webhooks.>"
ALL_DUE = "video.webhooks.due.*"
ALL_SLOTS = "video.slots.*.*"
ALL_LIVE = "video.live.>"
JOBS_INTO_LOG = "video.events.{{wildcard(2)}}.submitted"
LIVE_ENDINGS = "video.live.*.finished.*"
LIVE_CANCELLATIONS = "video.live.*.finished.cancelled"
LIVE_DELETIONS = "video.live.*.finished.deleted"
ALL_PREVIEWS = "video.previews.*"  # plain NATS: in no stream
SUBMISSIONS_INTO_INDEX = f"$KV.{INDEX_BUCKET}.{{{{wildcard(1)}}}}"


def job(job_id: str, lane: str = LANE) -> str:
    """Return the subject of a job's message in the queue; `lane` is `LANE` or, for a requeued job, `REQUEUED_LANE`."""
    return f"video.jobs.{lane}.{job_id}"


def job_in_any_lane(job_id: str) -> str:
    """Return the pattern of a job's message in the queue, whatever its lane."""
    return f"video.jobs.*.{job_id}"


def event(event: Event) -> str:
    """Return the subject of an event in the log."""
    return f"video.events.{event.job_id}.{kind_of(event)}"


def events_of(job_id: str) -> str:
    """Return the pattern of a job's events."""
    return f"video.events.{job_id}.>"


def last_events_of(job_id: str) -> str:
    """Return the pattern of a job's events but for its ending: a subject for each kind."""
    return f"video.events.{job_id}.*"


def submission_of(job_id: str) -> str:
    """Return the subject of a job's `JobSubmitted` in the log."""
    return f"video.events.{job_id}.submitted"


def declined(job_id: str) -> str:
    """Return the subject of a job's `JobDeclined`."""
    return f"video.events.{job_id}.declined"


def starts_of(job_id: str) -> str:
    """Return the subject of a job's `JobStarted` events, one per attempt."""
    return f"video.events.{job_id}.started"


def cancellation_of(job_id: str) -> str:
    """Return the subject of a job's `JobCancelled`."""
    return f"video.events.{job_id}.finished.cancelled"


def endings_of(job_id: str) -> str:
    """Return the pattern of a job's ending, whichever it is."""
    return f"video.events.{job_id}.finished.*"


def all_but_endings_of(job_id: str) -> str:
    """Return the pattern of a job's events without its endings, whose subjects have one token more."""
    return f"video.events.{job_id}.*"


def endings_of_kind(kind: type[Event]) -> str:
    """Return the pattern of all endings of one kind, of any job."""
    return f"video.events.*.{KINDS[kind]}"


def endings_with_words_of(job_id: str) -> list[str]:
    """Return the subjects of a job's endings that may repeat a client's words: all but that of its deletion."""
    return [f"video.events.{job_id}.{kind}" for kind in ENDED_WITH_WORDS]


def is_ending(subject: str) -> bool:
    """Return whether a message on this subject is an ending, whatever it holds."""
    return subject.split(".")[3:4] == ["finished"]


def is_submission(subject: str) -> bool:
    """Return whether a message of the log on this subject is a submission, whatever it holds."""
    return subject.split(".")[3:] == ["submitted"]


def kind_of_ending(subject: str) -> str:
    """Return the last token of an ending's subject, such as `succeeded`; it may be one of a newer version."""
    return subject.split(".")[4]


def webhook_due(job_id: str) -> str:
    """Return the subject of the message by which a job's webhook is due now."""
    return f"video.webhooks.due.{job_id}"


def webhook_scheduled(job_id: str) -> str:
    """Return the subject of the message which the broker keeps until a job's webhook is due."""
    return f"video.webhooks.scheduled.{job_id}"


def job_id_of(subject: str) -> str:
    """Return the job id in a subject of jobs, webhooks or events; the token may be anything that was published."""
    tokens = subject.split(".")
    return tokens[3] if tokens[1] in ("jobs", "webhooks") else tokens[2]


def previews_of(job_id: str) -> str:
    """Return the subject of a job's previews."""
    return f"video.previews.{job_id}"


def canary(instance: str) -> str:
    """Return the subject of the writes by which an edge tests the broker."""
    return f"video.canary.{instance}"


def slot(tenant: str, job_id: str) -> str:
    """Return the subject of a job's slot among those of its tenant."""
    return f"video.slots.{tenant}.{job_id}"


def slots_of(tenant: str) -> str:
    """Return the pattern of all slots of a tenant."""
    return f"video.slots.{tenant}.*"


def tenant_and_job_of_slot(subject: str) -> tuple[str, str]:
    """Return the tenant and the job id in a slot's subject; the tokens may be anything that was published."""
    _, _, tenant, job_id = subject.split(".")
    return tenant, job_id


def figures_of(service: str) -> str:
    """Return the subject on which the processes of a kind, such as `edge`, answer with their figures."""
    return f"video.services.{service}"


def key_entry(key_id: str) -> str:
    """Return the key of an API key in the bucket of keys."""
    return KEYS_OF_KEYS + key_id


def tenant_entry(tenant: str) -> str:
    """Return the key of a tenant's limits in the bucket of keys."""
    return KEYS_OF_TENANTS + tenant


def bucket_stream(bucket: str) -> str:
    """Return the stream in which JetStream keeps a bucket."""
    return f"KV_{bucket}"


def bucket_key(bucket: str, key: str) -> str:
    """Return the subject of a key in a bucket; with the key `>` the pattern of all its keys."""
    return f"$KV.{bucket}.{key}"
