"""Events of a job's life, past facts: one tagged union, each event readable alone. Pure.

Edge and rank 0 publish events through `job_log`; `fold` makes a status of them; `subjects` names, `wire` encodes them.

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
    """The part that all events share: a tag `type` on the wire, and the job's id, there `requestId`."""

    job_id: JobId


class JobSubmitted(_Event, frozen=True, kw_only=True, omit_defaults=True):
    """The edge accepted the job. The event is the job's message in the queue, and the broker copies it into the log.

    `fingerprint` tells this request from others if the client gave an idempotency key. `input_tag` then tells this
    submission's input file from the files of other submissions under the same key (`contracts.job.input_name`).
    """

    created_at: UnixSeconds
    job: Job
    fingerprint: Sha256 | None = None
    input_tag: InputTag | None = None


class JobDeclined(_Event, frozen=True, kw_only=True):
    """A cluster took the job, does not know one of its fields or values, and left the job for a newer cluster.

    The log holds at most one `JobDeclined` per job, the first. It starts the time after which the job fails. `unknown`
    names the fields.
    """

    at: UnixSeconds
    instance: Name
    unknown: Reason


class JobStarted(_Event, frozen=True, kw_only=True, omit_defaults=True):
    """A cluster started an attempt. `plan` is how its ranks share the attempt; the first clusters left it out.

    An attempt may resume from a checkpoint: `resumed_from_step` steps are done then, and the job is at `progress`.
    `cropped` is the share of the picture that the video does not show; older clusters left it out.
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
    """An attempt began a stage. `progress` is the share of the job's work that the attempt has done."""

    at: UnixSeconds
    attempt: AttemptNumber
    stage: Stage
    progress: Progress


class StepCompleted(_Event, frozen=True, kw_only=True):
    """An attempt has done `step` of `steps` denoising steps."""

    at: UnixSeconds
    attempt: AttemptNumber
    step: Steps
    steps: Steps
    progress: Progress


class JobReleased(_Event, frozen=True, kw_only=True):
    """A cluster that was told to stop handed the job back. The attempt does not count against the job."""

    at: UnixSeconds
    attempt: AttemptNumber
    instance: Name


class Timings(Struct, frozen=True, kw_only=True):
    """Seconds that each part of an attempt took, without the time spent waiting for the ranks.

    `load` reads the job and its picture, `mux` writes the mp4, `store` makes the mp4 the job's file. If the attempt
    resumed from a checkpoint, `encode` is 0 and `denoise` covers the steps that were left.
    """

    load: Seconds
    encode: Seconds
    denoise: Seconds
    decode: Seconds
    mux: Seconds
    store: Seconds


class JobSucceeded(_Event, frozen=True, kw_only=True, omit_defaults=True):
    """The job ended with a video. `timings` are of the attempt that made it, None if a later attempt found it made."""

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
    """The job ended without a video. `reason` is for people and safe to show; `attempt` is 0 if none had begun."""

    at: UnixSeconds
    attempt: LatestAttempt
    instance: Name
    reason: Reason


class JobCancelled(_Event, frozen=True, kw_only=True):
    """A client cancelled the job, which ended it."""

    at: UnixSeconds


class EndingUnknown(Struct, frozen=True, kw_only=True):
    """Stands for an ending in the log that this version cannot decode: damaged, or of a kind of a newer version.

    Never published. The job has ended, since the log takes no second ending. How it ended is unknown, so nothing may be
    deleted because of it. `at` is when the broker stored the ending.
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
Event = JobSubmitted | JobDeclined | JobStarted | StageStarted | StepCompleted | JobReleased | Ending
AnyEnding = Ending | EndingUnknown
AnyEvent = Event | EndingUnknown | SubmissionUnknown


class Logged(Struct, frozen=True):
    """An event with the time at which the broker stored it, in Unix seconds of the broker's clock."""

    event: AnyEvent
    at: float
