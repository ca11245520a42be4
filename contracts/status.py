"""A job's status: the value in the bucket `video-status` and the body of the edge's answer. `fold` makes it. Pure."""

from typing import Literal

from msgspec import Struct

from contracts.bounds import (
    Frames,
    LatestAttempt,
    Progress,
    Reason,
    Seconds,
    Share,
    Side,
    SizeBytes,
    Steps,
    UnixSeconds,
)
from contracts.job import JobId, Seed
from contracts.labels import Metadata
from contracts.stage_times import Stage

State = Literal["InQueue", "InProgress", "Succeed", "Failed", "Cancelled", "Deleted"]
"""How a job stands. No client is shown `Deleted`, and no bucket holds it: such a job is not found."""
DELETED: State = "Deleted"
ENDED: tuple[State, ...] = ("Succeed", "Failed", "Cancelled", "Deleted")


class Results(Struct, frozen=True, kw_only=True):
    """The video of a job that succeeded.

    `video_url` is null once the storage cap has removed the file; `cropped` is null if an older cluster made the video.
    """

    video_url: str | None
    video_path: str
    width: Side
    height: Side
    num_frames: Frames
    duration: Seconds
    size_bytes: SizeBytes
    seed: Seed
    cropped: Share | None = None


class JobStatus(Struct, frozen=True, kw_only=True, rename={"job_id": "requestId"}):
    """A job as it stands, the projection of its events.

    `created_at` and `updated_at` are Unix seconds. The edge fills in `queue_position` when it answers, and for an ended
    job `expires_at`, from when on the status may be forgotten. `metadata` is the client's own. `eta_seconds` is how
    long the job is expected to take from `updated_at` on, in an answer from now on; None as long as nobody can know.
    `released_attempt` is the latest attempt that was handed back unfinished, 0 for none. `width`, `height` and
    `cropped` (the share of the picture that is cut off) are of `sized_attempt`, the latest attempt that has said them.
    """

    job_id: JobId
    status: State = "InQueue"
    reason: Reason | None = None
    results: Results | None = None
    queue_position: int | None = None
    progress: Progress = 0.0
    created_at: UnixSeconds | None = None
    updated_at: UnixSeconds = 0.0
    attempt: LatestAttempt = 0
    stage: Stage | None = None
    step: Steps = 0
    released_attempt: LatestAttempt = 0
    width: Side | None = None
    height: Side | None = None
    cropped: Share | None = None
    sized_attempt: LatestAttempt = 0
    metadata: Metadata | None = None
    expires_at: UnixSeconds | None = None
    eta_seconds: Seconds | None = None

    @property
    def ended(self) -> bool:
        """Return whether the job has ended, in whichever way."""
        return self.status in ENDED

    @property
    def deleted(self) -> bool:
        """Return whether the job is deleted: then nothing else of it is known here."""
        return self.status == DELETED
