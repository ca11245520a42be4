"""Events of one job, as short calls: `started(1, at=100.0)`. For tests of folding, history, state and edge."""

from contracts.events import (
    JobCancelled,
    JobDeleted,
    JobFailed,
    JobReleased,
    JobStarted,
    JobSubmitted,
    JobSucceeded,
    StageStarted,
    StepCompleted,
)
from contracts.job import Job

ID = "0123456789abcdef" * 2
JOB = Job(prompt="a boat at sea", num_frames=25, seed=7)


def submitted(at: float = 100.0, metadata: dict[str, str] | None = None) -> JobSubmitted:
    return JobSubmitted(job_id=ID, created_at=at, job=JOB, metadata=metadata)


def started(
    attempt: int, at: float, from_step: int = 0, progress: float = 0.0, cropped: float | None = None
) -> JobStarted:
    return JobStarted(
        job_id=ID, at=at, attempt=attempt, instance="i", width=256, height=144, num_frames=25,
        resumed_from_step=from_step, progress=progress, cropped=cropped,
    )  # fmt: skip


def stage(attempt: int, at: float, progress: float, eta_seconds: float | None = None) -> StageStarted:
    return StageStarted(
        job_id=ID, at=at, attempt=attempt, stage="decode", progress=progress, eta_seconds=eta_seconds
    )  # fmt: skip


def step(attempt: int, at: float, step: int, progress: float, eta_seconds: float | None = None) -> StepCompleted:
    return StepCompleted(
        job_id=ID, at=at, attempt=attempt, step=step, steps=20, progress=progress, eta_seconds=eta_seconds
    )  # fmt: skip


def released(attempt: int, at: float) -> JobReleased:
    return JobReleased(job_id=ID, at=at, attempt=attempt, instance="i")


def succeeded(attempt: int, at: float) -> JobSucceeded:
    return JobSucceeded(
        job_id=ID,
        at=at,
        attempt=attempt,
        instance="i",
        video_url=f"/videos/{ID}.mp4",
        video_path=f"generated_videos/{ID}.mp4",
        width=256,
        height=144,
        num_frames=25,
        duration=1.5625,
        size_bytes=1000,
        sha256="0" * 64,
        seed=7,
    )


def failed(attempt: int, at: float) -> JobFailed:
    return JobFailed(job_id=ID, at=at, attempt=attempt, instance="i", reason="no room")


def cancelled(at: float) -> JobCancelled:
    return JobCancelled(job_id=ID, at=at)


def deleted(at: float) -> JobDeleted:
    return JobDeleted(job_id=ID, at=at)
