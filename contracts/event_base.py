"""The fields that all events share, and those that all endings share. `events` is made of both. Pure."""

from msgspec import Struct

from contracts.bounds import Seconds
from contracts.job import Job, JobId
from contracts.labels import Metadata


class JobEvent(Struct, frozen=True, kw_only=True, tag=True, tag_field="type", rename={"job_id": "requestId"}):
    """The part that all events share: a tag `type` on the wire, and the job's id, there `requestId`."""

    job_id: JobId


class JobEnding(JobEvent, frozen=True, kw_only=True, omit_defaults=True):
    """The part that endings share, by which each is readable alone: what was asked for, and how long it took.

    `queue_seconds` are from the submission to the first start, `run_seconds` from there to the ending, with the waits
    between attempts. Older publishers leave all of it out, and so does whoever does not know it.
    """

    job: Job | None = None
    metadata: Metadata | None = None
    queue_seconds: Seconds | None = None
    run_seconds: Seconds | None = None
