"""Events as readers see them: a message of the log becomes its kind, and JSON without what is not for the public. Pure.

An event shows what the status shows, and the job's parameters, prompt included: whoever knows a job's id may see all of
the job. Left out are the fields by which processes agree among themselves (`HIDDEN`).
"""

from functools import cached_property
from typing import Any

import msgspec
from msgspec.structs import replace

from contracts import subjects, wire
from contracts.broker import Stored
from contracts.events import AnyEvent, JobSucceeded
from contracts.job import video_path, video_url
from contracts.preview import Preview

HIDDEN = ("fingerprint", "has_slot", "input_tag", "instance", "tenant", "webhook_url")
"""The fingerprint of a request, whether a slot was taken, the name of an input's file, who exactly works on a job,
whose it is, and an address that may hold a secret."""
UNKNOWN_KIND, PREVIEW = "unknown", "preview"
KIND_CHARS_MAX = 32

_encode = msgspec.json.Encoder().encode


class LiveEvent:
    """An event for all its readers, encoded once for each way in which they read.

    `sequence` is the event's place in the log, None for an event that is never stored. `kind` is the last word of its
    subject, such as `step` or `succeeded`. `ends` says that the job has ended with it. `event` is what a fold needs.
    """

    def __init__(
        self, *, sequence: int | None, job_id: str, kind: str, data: bytes, ends: bool, event: AnyEvent | None
    ) -> None:
        self.sequence, self.job_id, self.kind = sequence, job_id, kind
        self.data, self.ends, self.event = data, ends, event

    @cached_property
    def as_sse(self) -> bytes:
        """Return the event as a block of `text/event-stream`. JSON has no line breaks, so its data is one line."""
        numbered = b"" if self.sequence is None else b"id: %d\n" % self.sequence
        return b"%sevent: %s\ndata: %s\n\n" % (numbered, self.kind.encode(), self.data)

    @cached_property
    def as_frame(self) -> str:
        """Return the event as the text of a WebSocket frame: JSON with `id`, `event` and `data`."""
        number = "null" if self.sequence is None else str(self.sequence)
        return f'{{"id":{number},"event":"{self.kind}","data":{self.data.decode()}}}'


def shown(stored: Stored) -> LiveEvent | None:
    """Return a message of the log as readers see it; None if this version cannot decode it.

    An ending that cannot be decoded is shown all the same, without what it says: the job has ended.
    """
    try:
        event: AnyEvent | None = wire.event_in(stored)
    except wire.Undecodable:
        event = wire.stand_in(stored)
    if event is None:
        return None
    return LiveEvent(
        sequence=stored.sequence,
        job_id=event.job_id,
        kind=_kind(stored.subject),
        data=_encode(public(event)),
        ends=subjects.is_ending(stored.subject),
        event=event,
    )


def shown_preview(preview: Preview) -> LiveEvent:
    """Return a preview as readers see it: of kind `PREVIEW`, without a place in the log."""
    return LiveEvent(
        sequence=None, job_id=preview.job_id, kind=PREVIEW, data=wire.encode(preview), ends=False, event=None
    )


def public(event: AnyEvent) -> dict[str, Any]:
    """Return the public fields of an event by their names on the wire. URL and path follow from the job's id."""
    if isinstance(event, JobSucceeded):
        event = replace(event, video_url=video_url(event.job_id), video_path=video_path(event.job_id))
    fields: dict[str, Any] = msgspec.to_builtins(event)
    if "type" not in fields:  # a stand-in, which never travels on the broker
        fields = {"type": type(event).__name__, "requestId": fields.pop("job_id"), **fields}
    return {name: value for name, value in fields.items() if name not in HIDDEN}


def _kind(subject: str) -> str:
    """Return the last word of an event's subject; anybody may have published an unusual one."""
    kind = subject.rpartition(".")[2]
    return kind if kind.isascii() and kind.isalpha() and len(kind) <= KIND_CHARS_MAX else UNKNOWN_KIND
