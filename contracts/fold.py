"""The projection of a job's events to its status, pure: fold(status before, event) → status after.

The state service folds the log; the edge folds the events that the state service has not got to yet. Every order and
every repetition of a job's events folds to the same status, so that a redelivered, late or doubled event (delivery is
at-least-once) does no harm and two folding services agree. That holds because each field only ever moves one way: the
ending and the submission are taken whenever they come, and of the other events the furthest point wins.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from contracts.events import (
    STAGES,
    AnyEnding,
    AnyEvent,
    EndingUnknown,
    JobCancelled,
    JobDeclined,
    JobFailed,
    JobReleased,
    JobStarted,
    JobSubmitted,
    JobSucceeded,
    Stage,
    StageStarted,
    StepCompleted,
    SubmissionUnknown,
)
from contracts.job import video_path, video_url
from contracts.status import JobStatus, Results, State

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
        case JobSubmitted() | SubmissionUnknown():
            return _touched(replace(status, created_at=event.created_at), event.created_at)
        case JobSucceeded() | JobFailed() | JobCancelled() | EndingUnknown():
            return status if status.ended else _ended(status, event)
        case _ if status.status == "Succeed":  # the status shows the attempt that succeeded, and no other
            return status
        case JobDeclined():
            after = status
        case JobStarted():
            resumed = event.resumed_from_step
            moved = _moved(status, (event.attempt, event.progress, "denoise" if resumed else None, resumed))
            after = _sized(moved, event)
        case StageStarted():
            after = _moved(status, (event.attempt, event.progress, event.stage, 0))
        case StepCompleted():
            after = _moved(status, (event.attempt, event.progress, "denoise", event.step))
        case JobReleased():
            moved = _moved(status, (event.attempt, 0.0, None, 0))
            after = replace(moved, released_attempt=max(moved.released_attempt, event.attempt))
    return _with_state(_touched(after, event.at))


def _ended(status: JobStatus, ending: AnyEnding) -> JobStatus:
    """Return the status after the ending of a job that had not ended; `Failed` for an `EndingUnknown`."""
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


_Point = tuple[int, float, Stage | None, int]
"""Attempt, progress within it, stage, step."""


def _moved(status: JobStatus, to: _Point) -> JobStatus:
    """Return the status at the further of two points in a job's life: its own, and `to`."""
    here = (status.attempt, status.progress, status.stage, status.step)
    if _point_key(to) <= _point_key(here):
        return status
    attempt, progress, stage, step = to
    return replace(status, attempt=attempt, progress=progress, stage=stage, step=step)


def _sized(status: JobStatus, started: JobStarted) -> JobStatus:
    """Return the status with the size of the latest attempt: its own, or that of `started`."""
    here = (status.sized_attempt, status.width or 0, status.height or 0, _share_key(status.cropped))
    if (started.attempt, started.width, started.height, _share_key(started.cropped)) <= here:
        return status
    return replace(
        status,
        width=started.width,
        height=started.height,
        cropped=started.cropped,
        sized_attempt=started.attempt,
    )


def _share_key(share: float | None) -> float:
    """Return a share that sorts before all others if it is None."""
    return -1.0 if share is None else share


def _point_key(point: _Point) -> tuple[int, float, int, int]:
    """Return a point as a key by which points sort in the order of a job's life."""
    attempt, progress, stage, step = point
    return attempt, progress, STAGES.index(stage) if stage else -1, step


def _touched(status: JobStatus, at: float) -> JobStatus:
    """Return the status with `updated_at` no earlier than `at`, unless the job has ended."""
    return status if status.ended else replace(status, updated_at=max(status.updated_at, at))


def _with_state(status: JobStatus) -> JobStatus:
    """Return the status as InQueue before the first attempt and after the latest was handed back, else InProgress."""
    if status.ended:
        return status
    state: State = "InProgress" if status.attempt > status.released_attempt else "InQueue"
    return replace(status, status=state)
