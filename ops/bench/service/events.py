"""Makes the events of the benchmark's jobs: small videos of the pocket model. For `fill`, `standin` and the parts."""

import time

from contracts.events import JobStarted, JobSubmitted, JobSucceeded, StageStarted
from contracts.job import Job, video_path, video_url
from contracts.stage_times import Stage

AT = 1_700_000_000.0
STEPS = 20
WIDTH, HEIGHT, FRAMES = 256, 144, 25
JOB = Job(prompt="a small boat sails over a calm sea", image_size="256*144", num_frames=25, infer_steps=STEPS, seed=7)


def submission(name: str) -> JobSubmitted:
    """Return the submission of a job."""
    return JobSubmitted(job_id=name, created_at=AT, job=JOB)


def started(name: str, *, instance: str, at: float) -> JobStarted:
    """Return the start of a job's first attempt."""
    return JobStarted(job_id=name, attempt=1, at=at, instance=instance, width=WIDTH, height=HEIGHT, num_frames=FRAMES)


def stage_started(name: str, stage: Stage, *, progress: float = 0.1) -> StageStarted:
    """Return the beginning of a stage, now."""
    return StageStarted(job_id=name, attempt=1, at=time.time(), stage=stage, progress=progress)


def succeeded(
    name: str, *, instance: str, at: float, seed: int = 7, sha256: str = "0" * 64, size_bytes: int = 1000
) -> JobSucceeded:
    """Return the success of a job's first attempt."""
    return JobSucceeded(
        job_id=name,
        attempt=1,
        at=at,
        instance=instance,
        video_url=video_url(name),
        video_path=video_path(name),
        width=WIDTH,
        height=HEIGHT,
        num_frames=FRAMES,
        duration=1.5625,
        size_bytes=size_bytes,
        sha256=sha256,
        seed=seed,
    )
