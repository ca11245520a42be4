"""The projection of a job's events to its status, pure: fold(status before, event) → status after.

The state service folds the log; the edge folds the events that the state service has not got to yet. Every order and
every repetition of a job's events folds to the same status, so that a redelivered, late or doubled event (delivery is
at-least-once) does no harm and two folding services agree. That holds because each field only ever moves one way: the
ending and the submission are taken whenever they come, and of the other events the furthest point wins. A deletion
absorbs whatever comes before or after it.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from contracts.events import (
    AnyEvent,
    Ending,
    EndingUnknown,
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
    SubmissionUnknown,
)
from contracts.job import video_path, video_url
from contracts.stage_times import STAGES, Stage
from contracts.status import JobStatus, Results, State

_OfAttempts = JobDeclined | JobStarted | StageStarted | StepCompleted | JobReleased

ENDING_UNKNOWN = "its ending cannot be read"


def fold_all(events: Iterable[AnyEvent]) -> JobStatus | None:
    """Return the status after these events of a single job, which may come in any order; None without events."""
    status: JobStatus | None = None
    for event in events:
        status = fold(status, event)
    return status


def fold(before: JobStatus | None, event: AnyEvent) -> JobStatus:
    """Return the status of a job after an event of the same job; `before` is None for the first event."""
    status = before or JobStatus(job_id=event.job_id)
    match event:
        case JobDeleted():
            at = max(event.at, status.updated_at) if status.deleted else event.at
            return JobStatus(job_id=event.job_id, status="Deleted", updated_at=at)
        case _ if status.deleted:
            return status
        case JobSubmitted():
            after = replace(status, created_at=event.created_at, metadata=event.metadata)
            return _touched(after, event.created_at)
        case SubmissionUnknown():
            return _touched(replace(status, created_at=event.created_at), event.created_at)
        case JobSucceeded() | JobFailed() | JobCancelled() | EndingUnknown():
            return status if status.ended else _ended(status, event)
        case _ if status.status == "Succeed":  # the status shows the attempt that succeeded, and no other
            return status
        case _:
            return _with_state(_touched(_after_attempt(status, event), event.at))


def _after_attempt(status: JobStatus, event: _OfAttempts) -> JobStatus:
    """Return the status after what a cluster reports of its attempts, without the time and the state."""
    match event:
        case JobDeclined():
            return status
        case JobStarted():
            resumed = event.resumed_from_step
            stage = "denoise" if resumed else None
            moved = _moved(status, (event.attempt, event.progress, stage, resumed, event.eta_seconds))
            return _sized(moved, event)
        case StageStarted():
            return _moved(status, (event.attempt, event.progress, event.stage, 0, event.eta_seconds))
        case StepCompleted():
            return _moved(status, (event.attempt, event.progress, "denoise", event.step, event.eta_seconds))
        case JobReleased():
            moved = _moved(status, (event.attempt, 0.0, None, 0, None))
            return replace(moved, released_attempt=max(moved.released_attempt, event.attempt))


def _ended(status: JobStatus, ending: Ending | EndingUnknown) -> JobStatus:
    """Return the status after the ending of a job that had not ended; `Failed` for an `EndingUnknown`."""
    status = replace(status, eta_seconds=None)
    match ending:
        case JobSucceeded():
            return replace(
                status,
                status="Succeed",
                results=_results(ending),
                updated_at=ending.at,
                progress=1.0,
                attempt=ending.attempt,
                stage=None,
                step=0,
                released_attempt=0,
                width=ending.width,
                height=ending.height,
                cropped=ending.cropped,
                sized_attempt=ending.attempt,
            )
        case JobFailed():
            return replace(status, status="Failed", reason=ending.reason, updated_at=ending.at)
        case JobCancelled():
            return replace(status, status="Cancelled", updated_at=ending.at)
        case EndingUnknown():
            return replace(status, status="Failed", reason=ENDING_UNKNOWN, updated_at=ending.at)


def _results(ending: JobSucceeded) -> Results:
    """Return the facts of the video in an ending. URL and path follow from the job's id, never from a message."""
    job_id = ending.job_id
    made = Results(**{name: getattr(ending, name) for name in Results.__struct_fields__})
    return replace(made, video_url=video_url(job_id), video_path=video_path(job_id))


_Point = tuple[int, float, Stage | None, int, float | None]
"""Attempt, progress within it, stage, step, and how long the job was expected to take from there on."""


def _moved(status: JobStatus, to: _Point) -> JobStatus:
    """Return the status at the further of two points in a job's life: its own, and `to`."""
    here = (status.attempt, status.progress, status.stage, status.step, status.eta_seconds)
    if _point_key(to) <= _point_key(here):
        return status
    attempt, progress, stage, step, eta_seconds = to
    return replace(status, attempt=attempt, progress=progress, stage=stage, step=step, eta_seconds=eta_seconds)


def _sized(status: JobStatus, started: JobStarted) -> JobStatus:
    """Return the status with the size of the latest attempt: its own, or that of `started`."""
    here = (status.sized_attempt, status.width or 0, status.height or 0, _key(status.cropped))
    if (started.attempt, started.width, started.height, _key(started.cropped)) <= here:
        return status
    return replace(
        status,
        width=started.width,
        height=started.height,
        cropped=started.cropped,
        sized_attempt=started.attempt,
    )


def _key(number: float | None) -> float:
    """Return a number, none of which is negative, or one that sorts before all others for None."""
    return -1.0 if number is None else number


def _point_key(point: _Point) -> tuple[int, float, int, int, float]:
    """Return a point as a key by which points sort in the order of a job's life."""
    attempt, progress, stage, step, eta_seconds = point
    return attempt, progress, STAGES.index(stage) if stage else -1, step, _key(eta_seconds)


def _touched(status: JobStatus, at: float) -> JobStatus:
    """Return the status with `updated_at` no earlier than `at`, unless the job has ended."""
    return status if status.ended else replace(status, updated_at=max(status.updated_at, at))


def _with_state(status: JobStatus) -> JobStatus:
    """Return the status as InQueue before the first attempt and after the latest was handed back, else InProgress.

    A job that has ended has no `eta_seconds`, and one that waits none of its own: that depends on the queue.
    """
    if status.ended:
        return replace(status, eta_seconds=None)
    state: State = "InProgress" if status.attempt > status.released_attempt else "InQueue"
    return replace(status, status=state, eta_seconds=status.eta_seconds if state == "InProgress" else None)
