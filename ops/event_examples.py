"""Examples of events for the catalogue: the life of one job, told by each name that an event may have."""

from contracts import event_names
from contracts.events import (
    Event,
    JobCancelled,
    JobDeclined,
    JobDeleted,
    JobFailed,
    JobReleased,
    JobStarted,
    JobSubmitted,
    JobSucceeded,
    StageStarted,
    StepCompleted,
    Timings,
)
from contracts.job import Job, video_path, video_url
from contracts.plan import Plan

JOB_ID = "5d41402abc4b2a76b9719d911017c592"
AT = 1703847600.0
CLUSTER = "one-8f3b2c1d"

JOB = Job(prompt="A small boat sails over a calm sea", num_frames=81, seed=7)
METADATA = {"order": "42"}
QUEUE_SECONDS = 12.5

_EVENTS: list[Event] = [
    JobSubmitted(job_id=JOB_ID, created_at=AT, job=JOB, metadata=METADATA),
    JobDeclined(job_id=JOB_ID, at=AT + 3, instance=CLUSTER, unknown="job.sample_solver: Invalid enum value 'heun'"),
    JobStarted(
        job_id=JOB_ID, at=AT + 12.5, attempt=1, instance=CLUSTER, width=1280, height=720, num_frames=81,
        plan=Plan(cfg_size=2, ulysses_size=4, vae_parallel=True), eta_seconds=95.0, model="Wan2.1-I2V-14B-720P",
    ),
    StageStarted(job_id=JOB_ID, at=AT + 16, attempt=1, stage="denoise", progress=0.04, eta_seconds=91.5),
    StageStarted(job_id=JOB_ID, at=AT + 98, attempt=1, stage="decode", progress=0.95, done=0.5, eta_seconds=4.2),
    StepCompleted(job_id=JOB_ID, at=AT + 48, attempt=1, step=15, steps=30, progress=0.49, eta_seconds=48.0),
    JobReleased(job_id=JOB_ID, at=AT + 50, attempt=1, instance=CLUSTER),
    JobSucceeded(
        job_id=JOB_ID, at=AT + 104, attempt=1, instance=CLUSTER, video_url=video_url(JOB_ID),
        video_path=video_path(JOB_ID), width=1280, height=720, num_frames=81, duration=5.0625, size_bytes=2_345_678,
        sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", seed=7,
        timings=Timings(load=0.4, encode=2.6, denoise=81.2, decode=5.1, mux=1.3, store=0.2), job=JOB,
        metadata=METADATA, queue_seconds=QUEUE_SECONDS, run_seconds=91.5,
    ),
    JobFailed(
        job_id=JOB_ID, at=AT + 104, attempt=3, instance=CLUSTER, reason="out of memory in the stage decode",
        job=JOB,
        metadata=METADATA, queue_seconds=QUEUE_SECONDS, run_seconds=91.5,
    ),
    JobCancelled(
        job_id=JOB_ID, at=AT + 60, job=JOB, metadata=METADATA, queue_seconds=QUEUE_SECONDS, run_seconds=47.5,
    ),
    JobDeleted(job_id=JOB_ID, at=AT + 3600),
]  # fmt: skip


def examples() -> dict[str, Event]:
    """Return an example for each name that an event may have, by that name."""
    return {event_names.name_of(event): event for event in _EVENTS}
