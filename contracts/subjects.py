"""The names on the broker: streams, buckets, durables, subjects and message ids. No other module spells one. Pure."""

from contracts.events import (
    Event,
    JobCancelled,
    JobDeclined,
    JobFailed,
    JobReleased,
    JobStarted,
    JobSubmitted,
    JobSucceeded,
    StageStarted,
    StepCompleted,
)

JOBS_STREAM = "VIDEO_JOBS"
EVENTS_STREAM = "VIDEO_EVENTS"
CANARY_STREAM = "VIDEO_CANARY"
STATUS_BUCKET = "video-status"
CLUSTERS_BUCKET = "video-clusters"
COUNTERS_BUCKET = "video-counters"
SECRETS_BUCKET = "video-secrets"
EVENTS_SET_ASIDE = "events-set-aside"  # its key in the bucket of counters
IDEMPOTENCY_SECRET = "idempotency"  # noqa: S105  # its key in the bucket

INFERENCE_DURABLE = "inference"
STATE_DURABLE = "state"

LANE = "default"
REQUEUED_LANE = "lost"  # for jobs that the queue had lost
ALL_JOBS = "video.jobs.*.*"
ALL_EVENTS = "video.events.>"
ALL_SUBMISSIONS = "video.events.*.submitted"
ALL_ENDINGS = "video.events.*.finished.*"
ALL_SUCCESSES = "video.events.*.finished.succeeded"
ALL_CANARIES = "video.canary.*"
ALL_LIVE = "video.live.>"
JOBS_INTO_LOG = "video.events.{{wildcard(2)}}.submitted"
LIVE_CANCELLATIONS = "video.live.*.finished.cancelled"

_KIND: dict[type[Event], str] = {
    JobSubmitted: "submitted",
    JobDeclined: "declined",
    JobStarted: "started",
    StageStarted: "stage",
    StepCompleted: "step",
    JobReleased: "released",
    JobSucceeded: "finished.succeeded",
    JobFailed: "finished.failed",
    JobCancelled: "finished.cancelled",
}


def job(job_id: str, lane: str = LANE) -> str:
    """Return the subject of a job's message in the queue; `lane` is `LANE` or, for a requeued job, `REQUEUED_LANE`."""
    return f"video.jobs.{lane}.{job_id}"


def job_in_any_lane(job_id: str) -> str:
    """Return the pattern of a job's message in the queue, whatever its lane."""
    return f"video.jobs.*.{job_id}"


def event(event: Event) -> str:
    """Return the subject of an event in the log."""
    return f"video.events.{event.job_id}.{_KIND[type(event)]}"


def events_of(job_id: str) -> str:
    """Return the pattern of a job's events."""
    return f"video.events.{job_id}.>"


def submission_of(job_id: str) -> str:
    """Return the subject of a job's `JobSubmitted` in the log."""
    return f"video.events.{job_id}.submitted"


def declined(job_id: str) -> str:
    """Return the subject of a job's `JobDeclined`."""
    return f"video.events.{job_id}.declined"


def starts_of(job_id: str) -> str:
    """Return the subject of a job's `JobStarted` events, one per attempt."""
    return f"video.events.{job_id}.started"


def endings_of(job_id: str) -> str:
    """Return the pattern of a job's ending, whichever it is."""
    return f"video.events.{job_id}.finished.*"


def is_ending(subject: str) -> bool:
    """Return whether a message on this subject is an ending, whatever it holds."""
    return subject.split(".")[3:4] == ["finished"]


def is_submission(subject: str) -> bool:
    """Return whether a message of the log on this subject is a submission, whatever it holds."""
    return subject.split(".")[3:] == ["submitted"]


def job_id_of(subject: str) -> str:
    """Return the job id in a subject of jobs, events or live events; the token may be anything that was published."""
    tokens = subject.split(".")
    return tokens[3] if tokens[1] == "jobs" else tokens[2]


def canary(instance: str) -> str:
    """Return the subject of the writes by which an edge tests the broker."""
    return f"video.canary.{instance}"


def bucket_stream(bucket: str) -> str:
    """Return the stream in which JetStream keeps a bucket."""
    return f"KV_{bucket}"


def bucket_key(bucket: str, key: str) -> str:
    """Return the subject of a key in a bucket; with the key `>` the pattern of all its keys."""
    return f"$KV.{bucket}.{key}"


def message_id(event: Event, publisher: str) -> str:
    """Return the `Nats-Msg-Id` of an event: derived from it and its publisher, so that a retry is the same message.

    The id contains the event's kind and the publisher's instance. A clustered stream answers a repeated message id with
    `duplicate` before it looks at the expected sequence: with equal ids the loser of a race would be told that its
    message is stored. A submission's id is the job's id alone, since the broker copies the submission into the log
    under its id.
    """
    kind = _KIND[type(event)]
    match event:
        case JobSubmitted():
            return event.job_id
        case JobStarted() | JobReleased():
            return f"{event.job_id}.{event.attempt}.{kind}.{publisher}"
        case StageStarted():
            return f"{event.job_id}.{event.attempt}.{kind}.{event.stage}.{publisher}"
        case StepCompleted():
            return f"{event.job_id}.{event.attempt}.{kind}.{event.step}.{publisher}"
        case JobDeclined() | JobSucceeded() | JobFailed() | JobCancelled():
            return f"{event.job_id}.{kind}.{publisher}"
