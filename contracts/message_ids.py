"""The `Nats-Msg-Id` of every event, by which the broker stores it once. Pure."""

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
from contracts.subjects import kind_of

RESTORED = ".restored"  # ends the message ids of events that come back from records


def of(event: Event, publisher: str) -> str:
    """Return the `Nats-Msg-Id` of an event: derived from it and its publisher, so that a retry is the same message.

    The id contains the event's kind and the publisher's instance. A clustered stream answers a repeated message id with
    `duplicate` before it looks at the expected sequence: with equal ids the loser of a race would be told that its
    message is stored. A submission's id is the job's id alone, since the broker copies the submission into the log
    under its id.
    """
    kind = kind_of(event)
    match event:
        case JobSubmitted():
            return event.job_id
        case JobStarted() | JobReleased():
            return f"{event.job_id}.{event.attempt}.{kind}.{publisher}"
        case StageStarted():
            at = event.stage if event.done == 0 else f"{event.stage}.{event.done}"
            return f"{event.job_id}.{event.attempt}.{kind}.{at}.{publisher}"
        case StepCompleted():
            return f"{event.job_id}.{event.attempt}.{kind}.{event.step}.{publisher}"
        case JobDeclined() | JobSucceeded() | JobFailed() | JobCancelled() | JobDeleted():
            return f"{event.job_id}.{kind}.{publisher}"


def restored(event: Event) -> str:
    """Return the `Nats-Msg-Id` of an event that comes back from a record: not its first one.

    The broker may remember that one of the message that it has lost. And whoever acts on endings tells by it that this
    one is old.
    """
    return f"{of(event, 'restore')}{RESTORED}"


def is_restored(message_id: str | None) -> bool:
    """Return whether a message of this id is an event that came back from a record."""
    return message_id is not None and message_id.endswith(RESTORED)
