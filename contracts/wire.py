"""Encode and decode all messages on the broker, and records: JSON, so that the nats CLI reads them. Pure.

Every process goes through it. Bytes go in and bounded types come out, or `Undecodable`; for a message of the log that
this version cannot decode there are stand-ins (`EndingUnknown`, `SubmissionUnknown`).
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, Protocol, TypeVar, cast

import msgspec

from contracts import subjects
from contracts.bounds import NAME_CHARS_MAX, Sha256
from contracts.cluster import ClusterStatus
from contracts.decoding import Undecodable, decoder, lenient_decoder
from contracts.events import (
    AnyEnding,
    AnyEvent,
    Ending,
    EndingUnknown,
    Event,
    JobDeleted,
    JobSubmitted,
    Logged,
    SubmissionUnknown,
)
from contracts.job import InputTag, Job, JobId
from contracts.preview import Preview
from contracts.record import Record
from contracts.status import JobStatus
from contracts.tenant import DEFAULT_TENANT, TenantName
from contracts.webhook import WebhookDelivery, WebhookDue

T = TypeVar("T", bound=Event)
UNKNOWN_NAMED_MAX = 10


class SubmissionHead(msgspec.Struct, frozen=True, rename={"job_id": "requestId"}):
    """The part of a submission that every version can read, whatever a newer version has added to the job."""

    job_id: JobId
    fingerprint: Sha256 | None = None
    input_tag: InputTag | None = None
    metadata: dict[str, str] | None = None
    webhook_url: str | None = None
    tenant: TenantName = DEFAULT_TENANT
    has_slot: bool = False


class Message(Protocol):
    """A message of a stream, such as `broker.Stored`; `at` is when the broker stored it, in Unix seconds."""

    @property
    def subject(self) -> str: ...
    @property
    def data(self) -> bytes: ...
    @property
    def at(self) -> float: ...


encode: Callable[[Event | JobStatus | ClusterStatus | Preview | WebhookDelivery | WebhookDue], bytes] = (
    msgspec.json.Encoder().encode
)
decode_submission: Callable[[bytes], JobSubmitted] = decoder(JobSubmitted)
decode_head: Callable[[bytes], SubmissionHead] = decoder(SubmissionHead)
decode_event: Callable[[bytes], Event] = lenient_decoder(Event)
decode_status: Callable[[bytes], JobStatus] = decoder(JobStatus)
decode_cluster: Callable[[bytes], ClusterStatus] = decoder(ClusterStatus)
decode_delivery: Callable[[bytes], WebhookDelivery] = decoder(WebhookDelivery)
decode_due: Callable[[bytes], WebhookDue] = decoder(WebhookDue)
decode_preview: Callable[[bytes], Preview] = decoder(Preview)
_decode_tombstone: Callable[[bytes], JobDeleted] = decoder(JobDeleted)
_decode_object: Callable[[bytes], dict[str, Any]] = decoder(dict[str, Any])
_decode_ending: Callable[[bytes], Ending | JobDeleted] = lenient_decoder(Ending | JobDeleted)
_encode_record: Callable[[Record], bytes] = msgspec.json.Encoder().encode
_decode_record: Callable[[bytes], Record] = decoder(Record)


def _encoded_names(kind: type[msgspec.Struct]) -> set[str]:
    """Return the names of a struct's fields on the wire."""
    return {field.encode_name for field in msgspec.structs.fields(kind)}


_SUBMISSION_FIELDS = {"type", *_encoded_names(JobSubmitted)}
_JOB_FIELDS = _encoded_names(Job)


def encode_record(record: Record) -> bytes:
    """Return a record's file, two lines: the record as JSON, and the SHA-256 of that line, which shows damage."""
    line = _encode_record(record)
    return b"%s\n%s\n" % (line, hashlib.sha256(line).hexdigest().encode())


def decode_record(content: bytes) -> Record:
    """Return the record in a file. Raises `Undecodable`, also if a byte is not as it was written."""
    line, _, digest = content.partition(b"\n")
    if digest.strip().decode(errors="replace") != hashlib.sha256(line).hexdigest():
        raise Undecodable("its SHA-256 is another")
    return _decode_record(line)


def status_in(message: Message) -> JobStatus:
    """Return the status in a message of the status bucket. Raises `Undecodable`, also if it is not of the key's job."""
    status = decode_status(message.data)
    if status.job_id != message.subject.rpartition(".")[2]:
        raise Undecodable(f"it speaks of job {status.job_id}")
    return status


def event_in(message: Message) -> Event:
    """Return the event in a message of the log. Raises `Undecodable`, also if it does not belong on the subject."""
    return _about_its_job(decode_event(message.data), message)


def ending_in(message: Message) -> AnyEnding:
    """Return the ending in a message on an ending's subject, `EndingUnknown` if it cannot be decoded.

    Such a message counts as an ending all the same: the log takes no other ending after it.
    """
    try:
        return _about_its_job(_decode_ending(message.data), message)
    except Undecodable:
        return EndingUnknown(job_id=subjects.job_id_of(message.subject), at=message.at)


def tombstone_in(message: Message) -> JobDeleted:
    """Return the tombstone in a message of their bucket; one that cannot be read is a tombstone all the same."""
    job_id = message.subject.rpartition(".")[2]
    try:
        return JobDeleted(job_id=job_id, at=_decode_tombstone(message.data).at)
    except Undecodable:
        return JobDeleted(job_id=job_id, at=message.at)


def logged(messages: Iterable[Message]) -> list[Logged]:
    """Return the events in messages of the log; of undecodable messages the `stand_in`, or nothing."""
    return [Logged(event, message.at) for message in messages for event in readable_events([message])]


def unknown_fields(submission: bytes) -> list[str]:
    """Return the names of the fields in an encoded `JobSubmitted`, and in its job, that this version does not know.

    The decoder drops them silently. That is right for showing a job; a cluster that ran it would make another video
    than was asked for. At most `UNKNOWN_NAMED_MAX` of either, each cut to `NAME_CHARS_MAX` characters. Raises
    `Undecodable` if the bytes are no JSON object.
    """
    job = (document := _decode_object(submission)).get("job")
    within = cast("dict[str, Any]", job) if isinstance(job, dict) else {}
    return [
        name[:NAME_CHARS_MAX]
        for fields, known in ((document, _SUBMISSION_FIELDS), (within, _JOB_FIELDS))
        for name in sorted(fields.keys() - known)[:UNKNOWN_NAMED_MAX]
    ]


def submission_in(message: Message) -> JobSubmitted | SubmissionUnknown:
    """Return the submission in a message, `SubmissionUnknown` if only a newer version can read all of it.

    Raises `Undecodable` if the message is no submission of the job that its subject names.
    """
    try:
        return _about_its_job(decode_submission(message.data), message)
    except Undecodable:
        head = decode_head(message.data)
        if head.job_id != subjects.job_id_of(message.subject):
            raise
        return SubmissionUnknown(job_id=head.job_id, created_at=message.at)


def stand_in(message: Message) -> EndingUnknown | SubmissionUnknown | None:
    """Return the stand-in for a message of the log that `event_in` cannot decode; None if it is to be set aside."""
    if subjects.is_ending(message.subject):
        return EndingUnknown(job_id=subjects.job_id_of(message.subject), at=message.at)
    if subjects.is_submission(message.subject):
        with suppress(Undecodable):
            found = submission_in(message)
            return found if isinstance(found, SubmissionUnknown) else None
    return None


def readable_events(messages: Iterable[Message]) -> Iterator[AnyEvent]:
    """Yield the events among messages of the log, or their stand-ins; skip others, which the state service logs."""
    for message in messages:
        try:
            yield event_in(message)
        except Undecodable:
            if (event := stand_in(message)) is not None:
                yield event


def _about_its_job(event: T, message: Message) -> T:
    """Return the event of a message. Raises `Undecodable` if it is of another job or ending than the subject."""
    if event.job_id != subjects.job_id_of(message.subject):
        raise Undecodable(f"it speaks of job {event.job_id}")
    ends = isinstance(event, Ending | JobDeleted) or subjects.is_ending(message.subject)
    if ends and subjects.event(event) != message.subject:
        raise Undecodable(f"it is a {type(event).__name__}")
    return event
