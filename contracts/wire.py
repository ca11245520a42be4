"""The only encoders and decoders of what travels on the broker, and of records: JSON, so that the nats CLI reads it."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, Protocol, TypeVar

import msgspec

from contracts import subjects
from contracts.cluster import ClusterStatus
from contracts.events import Ending, Event, JobFailed, JobSubmitted
from contracts.record import Record
from contracts.status import JobStatus

T = TypeVar("T", bound=Event)


class Undecodable(ValueError):
    """The bytes are not what their place says they are."""


class Message(Protocol):
    """What the log holds: `at` is when it was stored, in Unix seconds."""

    @property
    def subject(self) -> str: ...
    @property
    def data(self) -> bytes: ...
    @property
    def at(self) -> float: ...


def _decoder(kind: object) -> Callable[[bytes], Any]:
    decode = msgspec.json.Decoder[Any](kind).decode

    def decode_or_say(payload: bytes) -> object:
        try:
            return decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Undecodable(str(error)) from error

    return decode_or_say


encode: Callable[[Event | JobStatus | ClusterStatus], bytes] = msgspec.json.Encoder().encode
decode_submission: Callable[[bytes], JobSubmitted] = _decoder(JobSubmitted)
decode_event: Callable[[bytes], Event] = _decoder(Event)
decode_status: Callable[[bytes], JobStatus] = _decoder(JobStatus)
decode_cluster: Callable[[bytes], ClusterStatus] = _decoder(ClusterStatus)
_decode_ending: Callable[[bytes], Ending] = _decoder(Ending)
_encode_record: Callable[[Record], bytes] = msgspec.json.Encoder().encode
_decode_record: Callable[[bytes], Record] = _decoder(Record)


def encode_record(record: Record) -> bytes:
    """Two lines: the record, and the SHA-256 of that line, since what a disk has damaged must not count as true."""
    line = _encode_record(record)
    return b"%s\n%s\n" % (line, hashlib.sha256(line).hexdigest().encode())


def decode_record(content: bytes) -> Record:
    """Raises `Undecodable`, also where a byte is not as it was written."""
    line, _, digest = content.partition(b"\n")
    if digest.strip().decode(errors="replace") != hashlib.sha256(line).hexdigest():
        raise Undecodable("its SHA-256 is another")
    return _decode_record(line)


def event_in(message: Message) -> Event:
    """The event in a message of the log. Raises `Undecodable`, also where it speaks of another job than its subject."""
    return _about_its_job(decode_event(message.data), message)


def ending_in(message: Message) -> Ending:
    """The ending that a message stands for. One that cannot be read is an ending all the same, since none is taken
    after it: the job has failed, and how is unknown.
    """
    try:
        return _about_its_job(_decode_ending(message.data), message)
    except Undecodable:
        job_id = subjects.job_id_of(message.subject)
        return JobFailed(job_id=job_id, at=message.at, attempt=0, instance="", reason="its ending cannot be read")


def readable_events(messages: Iterable[Message]) -> Iterator[Event]:
    """The events among these messages; what is not one was set aside, loudly, by who folds the log."""
    for message in messages:
        if subjects.is_ending(message.subject):
            yield ending_in(message)
        else:
            with suppress(Undecodable):
                yield event_in(message)


def _about_its_job(event: T, message: Message) -> T:
    if event.job_id != subjects.job_id_of(message.subject):
        raise Undecodable(f"it speaks of job {event.job_id}")
    return event
