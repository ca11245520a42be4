"""Events of a job's life, past facts: one tagged union, each event readable alone. Pure.

Edge and rank 0 publish events through `job_log`; `fold` makes a status of them; `subjects` names, `wire` encodes them.

`at` and every `…_at` are Unix seconds of the publisher's clock; `attempt` counts from 1. Every number and every text
has a bound in its type (`contracts.bounds`): anybody with access to the broker can publish a message, and none of its
values may set the length of a loop or the size of a status.
"""

from msgspec import Struct

from contracts.bounds import (
    AttemptNumber,
    Frames,
    LatestAttempt,
    Name,
    Progress,
    Reason,
    Seconds,
    Sha256,
    Share,
    Side,
    SizeBytes,
    Steps,
    UnixSeconds,
)
from contracts.event_base import JobEnding as _Ending
from contracts.event_base import JobEvent as _Event
from contracts.job import InputTag, Job, JobId, Seed
from contracts.labels import Metadata, WebhookUrl
from contracts.plan import Plan
from contracts.stage_times import Stage, Timings
from contracts.tenant import DEFAULT_TENANT, TenantName


class JobSubmitted(_Event, frozen=True, kw_only=True, omit_defaults=True):
    """The edge accepted the job. The event is the job's message in the queue, and the broker copies it into the log.

    `fingerprint` tells this request from others if the client gave an idempotency key. `input_tag` then tells this
    submission's input file from those of others under the key (`contracts.job.input_name`). `metadata` is the client's.
    `remixed_from` is the job whose picture and fields this one has, with other words. `tenant` is whose job it is.
    `has_slot` says that the job counts towards its tenant's limit, so that whoever ends the job removes its slot.
    """

    created_at: UnixSeconds
    job: Job
    fingerprint: Sha256 | None = None
    input_tag: InputTag | None = None
    metadata: Metadata | None = None
    webhook_url: WebhookUrl | None = None
    remixed_from: JobId | None = None
    tenant: TenantName = DEFAULT_TENANT
    has_slot: bool = False


class JobDeclined(_Event, frozen=True, kw_only=True):
    """A cluster took the job, does not know one of its fields or values, and left the job for a newer cluster.

    The log holds at most one per job, the first. It starts the time after which the job fails; `unknown` names fields.
    """

    at: UnixSeconds
    instance: Name
    unknown: Reason


class JobStarted(_Event, frozen=True, kw_only=True, omit_defaults=True):
    """A cluster started an attempt. `plan` is how its ranks share the attempt; the first clusters left it out.

    An attempt may resume from a checkpoint: `resumed_from_step` steps are done then, and the job is at `progress`.
    `cropped` is the share of the picture that is not shown, `model` the cluster's model; older clusters left both out.
    `eta_seconds` is how long the job is expected to take from here on, None as long as nobody can know; in later events
    of the attempt too.
    """

    at: UnixSeconds
    attempt: AttemptNumber
    instance: Name
    width: Side
    height: Side
    num_frames: Frames
    plan: Plan | None = None
    resumed_from_step: Steps = 0
    progress: Progress = 0.0
    cropped: Share | None = None
    eta_seconds: Seconds | None = None
    model: Name | None = None


class StageStarted(_Event, frozen=True, kw_only=True, omit_defaults=True):
    """An attempt began a stage, or has done the share `done` of it; at the beginning `done` is 0 and left out.

    `progress` is the share of the job's work that the attempt has done. The first readers know no `done`; to them the
    stage begins again, with more progress.
    """

    at: UnixSeconds
    attempt: AttemptNumber
    stage: Stage
    progress: Progress
    done: Share = 0.0
    eta_seconds: Seconds | None = None


class StepCompleted(_Event, frozen=True, kw_only=True, omit_defaults=True):
    """An attempt has done `step` of `steps` denoising steps."""

    at: UnixSeconds
    attempt: AttemptNumber
    step: Steps
    steps: Steps
    progress: Progress
    eta_seconds: Seconds | None = None


class JobReleased(_Event, frozen=True, kw_only=True):
    """A cluster that was told to stop handed the job back. The attempt does not count against the job."""

    at: UnixSeconds
    attempt: AttemptNumber
    instance: Name


class JobSucceeded(_Ending, frozen=True, kw_only=True, omit_defaults=True):
    """The job ended with a video. `timings` are of the attempt that made it, None if a later attempt found it made.

    `video_url` is the path of the video on the edge, or all of its address if the cluster knows `PUBLIC_URL`.
    """

    at: UnixSeconds
    attempt: AttemptNumber
    instance: Name
    video_url: Name
    video_path: Name
    width: Side
    height: Side
    num_frames: Frames
    duration: Seconds
    size_bytes: SizeBytes
    sha256: Sha256
    seed: Seed
    timings: Timings | None = None
    cropped: Share | None = None


class JobFailed(_Ending, frozen=True, kw_only=True, omit_defaults=True):
    """The job ended without a video. `reason` is for people and safe to show; `attempt` is 0 if none had begun."""

    at: UnixSeconds
    attempt: LatestAttempt
    instance: Name
    reason: Reason


class JobCancelled(_Ending, frozen=True, kw_only=True, omit_defaults=True):
    """A client cancelled the job, which ended it."""

    at: UnixSeconds


class JobDeleted(_Event, frozen=True, kw_only=True):
    """A client deleted the job. No other ending, event or file of the job counts any more, before it or after it.

    The log takes it over any other ending, and no ending after it. The same message is the job's tombstone.
    """

    at: UnixSeconds


class EndingUnknown(Struct, frozen=True, kw_only=True):
    """Stands for an ending in the log that this version cannot decode: damaged, or of a kind of a newer version.

    Never published. How the job ended is unknown, so nothing is deleted for it. `at` is when the broker stored it.
    """

    job_id: str
    at: float


class SubmissionUnknown(Struct, frozen=True, kw_only=True):
    """Stands for a submission in log or queue whose job this version cannot decode: a newer edge has accepted it.

    Never published. `created_at` is when the broker stored the submission.
    """

    job_id: str
    created_at: float


Ending = JobSucceeded | JobFailed | JobCancelled
Event = JobSubmitted | JobDeclined | JobStarted | StageStarted | StepCompleted | JobReleased | Ending | JobDeleted
AnyEnding = Ending | JobDeleted | EndingUnknown
AnyEvent = Event | EndingUnknown | SubmissionUnknown


class Logged(Struct, frozen=True):
    """An event with the time at which the broker stored it, in Unix seconds of the broker's clock."""

    event: AnyEvent
    at: float
