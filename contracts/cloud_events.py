"""The CloudEvents 1.0 attributes of events, as headers of NATS messages (binary content mode). Pure.

`job_log` and `job_queue` publish every event with them; the body stays the event's own JSON. The broker copies headers
with the message, so the log's copy of a submission and the live copies have them too. Source of names and escapes: the
NATS protocol binding of CloudEvents.
"""

import re
from contextlib import suppress
from datetime import UTC, datetime
from urllib.parse import quote

import msgspec

from contracts import event_names
from contracts.bounds import UnixSeconds
from contracts.events import Event, JobSubmitted

PREFIX = "ce-"
VERSION = "1.0"
SOURCE = "/wanjet/jobs"
"""The `source` of every event. An id tells publishers apart, so `source` and `id` together name one event."""
TYPE_PREFIX = "io.wanjet.job.v1."
CONTENT_TYPE = "application/json"

_PLAIN = re.compile(r"[!#$&-~]*")  # printable ASCII but for the blank, the quotation mark and the percent sign
_SAFE = "!#$&'()*+,/:;<=>?@[\\]^`{|}"
"""What `quote` is to leave beside letters, digits and `_.-~`: what `_PLAIN` has."""


class _Submission(msgspec.Struct, frozen=True):
    """The time of a submission alone."""

    created_at: UnixSeconds


_decode_time = msgspec.json.Decoder(_Submission).decode


def headers(event: Event, message_id: str) -> dict[str, str]:
    """Return the attributes of an event as headers, by their names; `message_id` becomes its `id`."""
    at = event.created_at if isinstance(event, JobSubmitted) else event.at
    return _headers(event_names.name_of(event), event.job_id, message_id, at)


def submission_headers(job_id: str, submission: bytes) -> dict[str, str]:
    """Return the headers of a job's encoded `JobSubmitted`, which may be of a newer version, as `headers` has them.

    Without a time that can be read, the attribute `time` is left out, as CloudEvents allows.
    """
    created_at = None
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        created_at = _decode_time(submission).created_at
    return _headers(event_names.SUBMITTED, job_id, job_id, created_at)


def type_of(name: str) -> str:
    """Return the attribute `type` of the events of a name, such as `succeeded`."""
    return TYPE_PREFIX + name


def _headers(name: str, job_id: str, event_id: str, at: float | None) -> dict[str, str]:
    found = {
        "ce-specversion": VERSION,
        "ce-id": _escaped(event_id),
        "ce-source": SOURCE,
        "ce-type": TYPE_PREFIX + name,
        "ce-subject": _escaped(job_id),
        "content-type": CONTENT_TYPE,
    }
    if at is not None:
        found["ce-time"] = f"{datetime.fromtimestamp(at, UTC).replace(tzinfo=None).isoformat('T', 'milliseconds')}Z"
    return found


def _escaped(value: str) -> str:
    """Return a value with what may not stand in a header percent-encoded."""
    return value if _PLAIN.fullmatch(value) else quote(value, safe=_SAFE)
