"""Decode the message of a job from the queue, which may be damaged, forged, or of a newer version.

`AttemptPlanner` calls `decode_submission`, `JobCompleter` `head_in`; `Leader` fails a job by `JobMustFail`, and leaves
one by `UnknownToThisVersion`.
"""

from contextlib import suppress

from contracts import wire
from contracts.events import JobSubmitted
from contracts.process import log

UNREADABLE = "the job could not be read"
UNKNOWN_CHARS_MAX = 500


class JobMustFail(Exception):
    """The job is to fail. The text says why, and is safe to show."""


class UnknownToThisVersion(Exception):
    """The job has a field or a value that this version does not know, because a newer edge has accepted it.

    A newer cluster can run it. The text names the field or value, and is safe to show.
    """


def decode_submission(job_id: str, data: bytes) -> JobSubmitted:
    """Decode the job in a message.

    Raises `JobMustFail` if the bytes are no job or belong to another job, and `UnknownToThisVersion` if a newer version
    wrote them. An unknown field is refused like an unknown value: to run the job without that field would make another
    video.
    """
    try:
        head, unknown = wire.decode_head(data), wire.unknown_fields(data)
    except wire.Undecodable as error:
        log.get().error("job_undecodable", error=str(error))
        raise JobMustFail(UNREADABLE) from error
    if head.job_id != job_id:
        log.get().error("job_undecodable", error=f"it speaks of job {head.job_id}")
        raise JobMustFail(UNREADABLE)
    if unknown:
        raise UnknownToThisVersion(", ".join(unknown)[:UNKNOWN_CHARS_MAX])
    try:
        return wire.decode_submission(data)
    except wire.Undecodable as error:
        raise UnknownToThisVersion(str(error)[:UNKNOWN_CHARS_MAX]) from error


def head_in(data: bytes) -> wire.SubmissionHead | None:
    """Return the part of a message's job that every version can read; None if it cannot be read."""
    with suppress(wire.Undecodable):
        return wire.decode_head(data)
    return None
