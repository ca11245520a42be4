"""Make the content of a webhook: the ending event as the log has it, with the job's `metadata`. `deliver` asks for it.

The address stands in the submission alone, and is read anew for each try: once a job is deleted or the log has
forgotten it, nothing is sent.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from contracts import wire
from contracts.events import JobCancelled, JobFailed, JobSucceeded
from contracts.job_log import JobLog
from services.webhooks.post import target_of

HIDDEN = ("instance",)
"""The field of an ending that says who exactly worked on the job, which is nobody's business outside."""


class Letter(NamedTuple):
    """The content of a webhook: where it goes, the scheme, host and port of that, and the body."""

    url: str
    target: str
    body: bytes


async def letter_for(job_log: JobLog, job_id: str, public_url: str | None) -> Letter | None:
    """Return what is to be posted for a job; None if the log has forgotten or cannot read the job or its ending.

    Raises `Unavailable`.
    """
    stored = await job_log.stored_ending(job_id)
    try:
        head = await job_log.submission_head(job_id)
    except wire.Undecodable:
        return None
    if stored is None or not isinstance(wire.ending_in(stored), JobSucceeded | JobFailed | JobCancelled):
        return None
    if head is None or head.webhook_url is None or (parts := target_of(head.webhook_url)) is None:
        return None
    return Letter(head.webhook_url, parts.origin, body_of(stored.data, head.metadata, public_url))


def body_of(ending: bytes, metadata: Mapping[str, str] | None, public_url: str | None) -> bytes:
    """Return an ending event's JSON with `metadata`, and with an absolute `video_url` if `public_url` is given.

    Fields of the event that this version does not know stay; those in `HIDDEN` go.
    """
    event: dict[str, Any] = msgspec.json.decode(ending, type=dict[str, Any])
    for name in HIDDEN:
        event.pop(name, None)
    if metadata:
        event["metadata"] = metadata
    video_url = event.get("video_url")
    if public_url is not None and isinstance(video_url, str) and video_url.startswith("/"):
        event["video_url"] = public_url.rstrip("/") + video_url
    return msgspec.json.encode(event)
