"""What has happened to a job: one tagged union, each event readable alone. Knows no subject and no encoding.

`at` and every `…_at` are Unix seconds of the publisher's clock; `attempt` counts from 1.
"""

from typing import Literal

from msgspec import Struct

from contracts.job import Job, JobId
from contracts.plan import Plan

Stage = Literal["encode", "denoise", "decode", "store"]
STAGES: tuple[Stage, ...] = ("encode", "denoise", "decode", "store")


class _Event(Struct, frozen=True, kw_only=True, tag=True, tag_field="type", rename={"job_id": "requestId"}):
    job_id: JobId


class JobSubmitted(_Event, frozen=True, kw_only=True, omit_defaults=True):
    """The job itself, and the first event of its log: the broker copies it there.

    `fingerprint` tells one request from another where the client gave an idempotency key.
    """

    created_at: float
    job: Job
    fingerprint: str | None = None


class JobStarted(_Event, frozen=True, kw_only=True, omit_defaults=True):
    """`plan` is how the cluster's ranks share the attempt; the first clusters did not say.

    An attempt may go on from a checkpoint: `resumed_from_step` steps are done then, and the job is at `progress`.
    """

    at: float
    attempt: int
    instance: str
    width: int
    height: int
    num_frames: int
    plan: Plan | None = None
    resumed_from_step: int = 0
    progress: float = 0.0


class StageStarted(_Event, frozen=True, kw_only=True):
    at: float
    attempt: int
    stage: Stage
    progress: float


class StepCompleted(_Event, frozen=True, kw_only=True):
    """`step` of `steps` denoising steps are done."""

    at: float
    attempt: int
    step: int
    steps: int
    progress: float


class JobReleased(_Event, frozen=True, kw_only=True):
    """A cluster that was told to stop handed the job back; the attempt does not count against the job."""

    at: float
    attempt: int
    instance: str


class Timings(Struct, frozen=True, kw_only=True):
    """Seconds of each part of an attempt; time spent waiting for the ranks is in none of them.

    `load` reads the job and its picture, `mux` writes the mp4, `store` makes it the job's file. `encode` is 0 where the
    attempt went on from a checkpoint, and `denoise` is then that of the steps that were left.
    """

    load: float
    encode: float
    denoise: float
    decode: float
    mux: float
    store: float


class JobSucceeded(_Event, frozen=True, kw_only=True, omit_defaults=True):
    """`timings` are those of the attempt that made the video; there are none where a later one found it made."""

    at: float
    attempt: int
    instance: str
    video_url: str
    video_path: str
    width: int
    height: int
    num_frames: int
    duration: float
    size_bytes: int
    sha256: str
    seed: int
    timings: Timings | None = None


class JobFailed(_Event, frozen=True, kw_only=True):
    """`reason` is for people and safe to show; `attempt` is 0 where none had begun."""

    at: float
    attempt: int
    instance: str
    reason: str


class JobCancelled(_Event, frozen=True, kw_only=True):
    at: float


Ending = JobSucceeded | JobFailed | JobCancelled
Event = JobSubmitted | JobStarted | StageStarted | StepCompleted | JobReleased | Ending
