"""The names of events, as they stand in subjects, in CloudEvents and in the catalogue. Pure."""

from contracts.event_base import JobEnding
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
)

SUBMITTED = "submitted"
WITHIN_A_STAGE = "progress"

KINDS: dict[type[Event], str] = {
    JobSubmitted: SUBMITTED,
    JobDeclined: "declined",
    JobStarted: "started",
    StageStarted: "stage",
    StepCompleted: "step",
    JobReleased: "released",
    JobSucceeded: "finished.succeeded",
    JobFailed: "finished.failed",
    JobCancelled: "finished.cancelled",
    JobDeleted: "finished.deleted",
}
"""The ends of subjects, by type of event."""

ENDED_WITH_WORDS = [kind for event, kind in KINDS.items() if issubclass(event, JobEnding)]
"""The kinds of endings that may repeat what was asked for."""


def kind_of(event: Event) -> str:
    """Return the end of an event's subject: `progress` within a stage, so that `stage` stays that of beginnings."""
    return WITHIN_A_STAGE if isinstance(event, StageStarted) and event.done > 0 else KINDS[type(event)]


def name_of(event: Event) -> str:
    """Return the name of an event, the last token of its subject, such as `started` or `succeeded`."""
    return kind_of(event).rpartition(".")[2]


def names() -> dict[str, type[Event]]:
    """Return every name that an event may have, with its type. Those of a type stand together."""
    named = {kind.rpartition(".")[2]: event for event, kind in KINDS.items()}
    at = list(named).index(KINDS[StageStarted]) + 1
    return dict([*list(named.items())[:at], (WITHIN_A_STAGE, StageStarted), *list(named.items())[at:]])


def pattern_of(name: str) -> str:
    """Return the pattern of the events of a name, of all jobs, in the log."""
    ending = any(kind.partition(".")[2] == name for kind in KINDS.values())
    return f"video.events.*.{'finished.' if ending else ''}{name}"
