"""Show a job as the video object of `/v1/videos`: its fields, its four statuses, and codes for how it failed. Pure."""

from typing import Literal

from msgspec import Struct, structs

from contracts.cluster import ClusterStatus
from contracts.events import JobSubmitted
from contracts.job import AUTO, FPS, JOB_ID_CHARS, is_job_id
from contracts.labels import DEFAULT_MODEL
from contracts.status import JobStatus, State
from services.edge.errors import NotFound
from services.edge.video_errors import VIDEO_ID_PREFIX
from services.edge.views import View

UNFINISHED_PERCENT_MAX = 99
FAILURE_CODES = (
    ("storage_full", "storage_full"),
    ("ran out of memory", "out_of_memory"),
    ("it ran longer than", "timeout"),
    ("the input image", "image_unusable"),
    ("given up after", "worker_lost"),
)
"""Words of a job's `reason`, and the code that stands for them."""
FAILED, CANCELLED = "generation_failed", "cancelled"

Word = Literal["queued", "in_progress", "completed", "failed"]
WORDS: dict[State, Word] = {
    "InQueue": "queued",
    "InProgress": "in_progress",
    "Succeed": "completed",
    "Failed": "failed",
    "Cancelled": "failed",
}


class Failure(Struct, frozen=True):
    """Why there is no video: a code for programs, and a sentence that is safe to show."""

    code: str
    message: str


class Video(Struct, frozen=True, kw_only=True):
    """A job in the form of `/v1/videos`. Times are in Unix seconds, `progress` in percent, `seconds` is a text.

    The fields from `queue_position` on are ours; `inference_time_s` and `stage_durations` have the names of vLLM-Omni.
    """

    id: str
    object: Literal["video"] = "video"
    model: str
    status: Word
    progress: int
    created_at: int
    completed_at: int | None
    expires_at: int | None
    prompt: str | None
    size: str
    seconds: str
    remixed_from_video_id: str | None
    error: Failure | None
    queue_position: int | None
    eta_seconds: float | None
    num_frames: int | None
    fps: int = FPS
    seed: int | None
    inference_time_s: float | None
    stage_durations: dict[str, float] | None
    metadata: dict[str, str] | None


def video_id(job_id: str) -> str:
    """Return the id of a job in this dialect."""
    return VIDEO_ID_PREFIX + job_id


def job_id_of(text: str) -> str:
    """Return the job that an id of this dialect names. Raises `NotFound` for a text that is no id."""
    job_id = text.removeprefix(VIDEO_ID_PREFIX)
    if len(text) != len(VIDEO_ID_PREFIX) + JOB_ID_CHARS or not is_job_id(job_id):
        raise NotFound(f"there is no video of this id; an id is {VIDEO_ID_PREFIX} and 32 lower-case hex characters")
    return job_id


def video_of(view: View, clusters: list[ClusterStatus]) -> Video:
    """Return a job as a video object. `clusters` are the live ones: they say the model and the size left to them."""
    status, submitted = view.status, view.submitted
    job = None if submitted is None else submitted.job
    frames = status.results.num_frames if status.results else job and job.num_frames
    times = None if view.timings is None else structs.asdict(view.timings)
    return Video(
        id=video_id(status.job_id),
        model=_model(submitted, clusters),
        status=WORDS[status.status],
        progress=_percent(status),
        created_at=int(status.created_at or 0),
        completed_at=int(status.updated_at) if status.ended else None,
        expires_at=int(view.forgotten_at) if view.forgotten_at is not None and status.ended else None,
        prompt=job and job.prompt,
        size=_size(status, submitted, clusters),
        seconds="0" if frames is None else f"{(frames - 1) / FPS:g}",
        remixed_from_video_id=video_id(submitted.remixed_from) if submitted and submitted.remixed_from else None,
        error=_failure(status),
        queue_position=status.queue_position,
        eta_seconds=status.eta_seconds,
        num_frames=frames,
        seed=job and job.seed,
        inference_time_s=None if times is None else round(sum(times.values()), 3),
        stage_durations=times,
        metadata=status.metadata,
    )


def _percent(status: JobStatus) -> int:
    """Return how far a job is, in percent: 100 once it has a video, and never before."""
    return 100 if status.status == "Succeed" else min(int(100 * status.progress), UNFINISHED_PERCENT_MAX)


def _failure(status: JobStatus) -> Failure | None:
    """Return why a job has no video; None if it has one, or may come to one."""
    if status.status == "Cancelled":
        return Failure(CANCELLED, "the job was cancelled")
    if status.status != "Failed":
        return None
    reason = status.reason or "the job failed"
    return Failure(next((code for words, code in FAILURE_CODES if words in reason), FAILED), reason)


def _model(submitted: JobSubmitted | None, clusters: list[ClusterStatus]) -> str:
    """Return the model that a job names, else the one that is served, else `DEFAULT_MODEL`."""
    named = submitted.job.model if submitted is not None else None
    if isinstance(named, str) and named != DEFAULT_MODEL:
        return named
    return clusters[0].model if clusters else DEFAULT_MODEL


def _size(status: JobStatus, submitted: JobSubmitted | None, clusters: list[ClusterStatus]) -> str:
    """Return the size of a job's video as `WxH`: as made, else as asked for, else the default; `AUTO` for none."""
    if status.width and status.height:
        return f"{status.width}x{status.height}"
    asked = submitted.job.image_size if submitted is not None else None
    if asked in (None, AUTO):
        asked = clusters[0].default_size if clusters else AUTO
    return (asked or AUTO).replace("*", "x")
