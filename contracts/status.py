"""A job's status: the value in the bucket `video-status` and the body of the answer. Only `fold` makes one."""

from typing import Literal

from msgspec import Struct

from contracts.events import Stage
from contracts.job import JobId

State = Literal["InQueue", "InProgress", "Succeed", "Failed", "Cancelled"]
ENDED: tuple[State, ...] = ("Succeed", "Failed", "Cancelled")


class Results(Struct, frozen=True, kw_only=True):
    """`video_url` is null once the storage cap has removed the file."""

    video_url: str | None
    video_path: str
    width: int
    height: int
    num_frames: int
    duration: float
    size_bytes: int
    seed: int


class JobStatus(Struct, frozen=True, kw_only=True, rename={"job_id": "requestId"}):
    """`created_at` and `updated_at` are Unix seconds; `queue_position` is the edge's to fill in when it answers.

    `released_attempt` is the latest attempt that was handed back unfinished, 0 for none.
    """

    job_id: JobId
    status: State = "InQueue"
    reason: str | None = None
    results: Results | None = None
    queue_position: int | None = None
    progress: float = 0.0
    created_at: float | None = None
    updated_at: float = 0.0
    attempt: int = 0
    stage: Stage | None = None
    step: int = 0
    released_attempt: int = 0

    @property
    def ended(self) -> bool:
        return self.status in ENDED
