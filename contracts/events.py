"""Events of a job's life: one tagged union, each event readable alone. Knows no subject and no encoding.

`at` and every `…_at` are Unix seconds of the publisher's clock; `attempt` counts from 1. Every number and every text
has a bound in its type (`contracts.bounds`): anybody with access to the broker can publish a message, and none of its
values may set the length of a loop or the size of a status.
"""

from typing import Literal

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
from contracts.job import InputTag, Job, JobId, Seed
from contracts.plan import Plan

Stage = Literal["encode", "denoise", "decode", "store"]
STAGES: tuple[Stage, ...] = ("encode", "denoise", "decode", "store")


class _Event(Struct, frozen=True, kw_only=True, tag=True, tag_field="type", rename={"job_id": "requestId"}):
    job_id: JobId


class JobSubmitted(_Event, frozen=True, kw_only=True, omit_defaults=True):
    """The job itself, and the first event of its log: the broker copies it there.

    `fingerprint` tells one request from another if the client gave an idempotency key. `input_tag` then tells this
    submission's input file from the files of other submissions under the same key (`contracts.job.input_name`).
    """

    created_at: UnixSeconds
    job: Job
    fingerprint: Sha256 | None = None
    input_tag: InputTag | None = None


class JobDeclined(_Event, frozen=True, kw_only=True):
    """The first cluster that took the job does not know one of its fields or values, and left it for a newer cluster.

    The log holds one of these per job at most. It starts the time after which the job fails. `unknown` names the
    fields.
    """

    at: UnixSeconds
    instance: Name
    unknown: Reason


class JobStarted(_Event, frozen=True, kw_only=True, omit_defaults=True):
    """`plan` is how the cluster's ranks share the attempt; the first clusters did not say.

    An attempt may go on from a checkpoint: `resumed_from_step` steps are done then, and the job is at `progress`.
    `cropped` is the share of the picture that the video does not show, as far as the cluster said it.
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


class StageStarted(_Event, frozen=True, kw_only=True):
    at: UnixSeconds
    attempt: AttemptNumber
    stage: Stage
    progress: Progress


class StepCompleted(_Event, frozen=True, kw_only=True):
    """`step` of `steps` denoising steps are done."""

    at: UnixSeconds
    attempt: AttemptNumber
    step: Steps
    steps: Steps
    progress: Progress


class JobReleased(_Event, frozen=True, kw_only=True):
    """A cluster that was told to stop handed the job back; the attempt does not count against the job."""

    at: UnixSeconds
    attempt: AttemptNumber
    instance: Name


class Timings(Struct, frozen=True, kw_only=True):
    """Seconds of each part of an attempt; time spent waiting for the ranks is in none of them.

    `load` reads the job and its picture, `mux` writes the mp4, `store` makes it the job's file. `encode` is 0 where the
    attempt went on from a checkpoint, and `denoise` is then that of the steps that were left.
    """

    load: Seconds
    encode: Seconds
    denoise: Seconds
    decode: Seconds
    mux: Seconds
    store: Seconds


class JobSucceeded(_Event, frozen=True, kw_only=True, omit_defaults=True):
    """`timings` are those of the attempt that made the video; there are none where a later one found it made."""

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


class JobFailed(_Event, frozen=True, kw_only=True):
    """`reason` is for people and safe to show; `attempt` is 0 where none had begun."""

    at: UnixSeconds
    attempt: LatestAttempt
    instance: Name
    reason: Reason


class JobCancelled(_Event, frozen=True, kw_only=True):
    """The job was cancelled by a client."""

    at: UnixSeconds


class EndingUnknown(Struct, frozen=True, kw_only=True):
    """An ending in the log that this version cannot decode: damaged, or of a kind that a newer version knows.

    Never published. The job has ended, since the log takes no second ending; how it ended is unknown, so nothing may
    be deleted because of it. `at` is when the broker stored it.
    """

    job_id: str
    at: float


class SubmissionUnknown(Struct, frozen=True, kw_only=True):
    """A submission in log or queue whose job this version cannot decode all of: a newer edge has accepted it.

    Never published. `created_at` is when the broker stored it.
    """

    job_id: str
    created_at: float


Ending = JobSucceeded | JobFailed | JobCancelled
Event = JobSubmitted | JobDeclined | JobStarted | StageStarted | StepCompleted | JobReleased | Ending
AnyEnding = Ending | EndingUnknown
AnyEvent = Event | EndingUnknown | SubmissionUnknown


class Logged(Struct, frozen=True):
    """An event as the log holds it: `at` is when the broker stored it, in Unix seconds of the broker's clock."""

    event: AnyEvent
    at: float
