"""The only encoders and decoders of what travels on the broker: JSON, so that the nats CLI reads it."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

import msgspec

from contracts.cluster import ClusterStatus
from contracts.events import Ending, Event, JobSubmitted
from contracts.status import JobStatus


class Undecodable(ValueError):
    """The bytes are not what their place says they are."""


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
decode_ending: Callable[[bytes], Ending] = _decoder(Ending)
decode_status: Callable[[bytes], JobStatus] = _decoder(JobStatus)
decode_cluster: Callable[[bytes], ClusterStatus] = _decoder(ClusterStatus)


def readable_events(payloads: Iterable[bytes]) -> Iterator[Event]:
    """The events among these payloads; what is not one was set aside, loudly, by who folds the log."""
    for payload in payloads:
        with suppress(Undecodable):
            yield decode_event(payload)
