"""Batches of direct gets, which any replica answers: `streams` makes with them the reads that may be stale.

`streams` repeats a batch that gets no answer: the broker hands each request to a replica drawn at random, and takes a
replica that is gone off the list as soon as its route is given up. No batch can be asked of the leader alone.
"""

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime

import nats.errors
import nats.js.errors
from msgspec import Struct
from nats.aio.client import Client
from nats.aio.msg import Msg

from contracts.broker.quick import Answer, QuickClient
from contracts.process import tracing

FIRST_ANSWER_WITHIN_S = 0.4
OF_A_MESSAGE = "Nats-Sequence"
"""The header that the broker adds to every message that it reads out; the end of a batch does not have it.

A message's publisher may have given it any headers, `Status` too. The broker's own headers follow those, and the last
header of a name counts."""


SEQUENCE_DIGITS_MAX = 20

_NONE, _STATUS_AT = b"404", slice(9, 12)
_TRACE, _ID, _STREAM = tracing.HEADER.encode(), b"Nats-Msg-Id", b"Nats-Stream"


class Stored(Struct, frozen=True):
    """A message as a stream holds it; `at` is when it was stored, in Unix seconds.

    Its own headers say, whatever they may hold: the trace that it belongs to, the id under which it was published, and
    the stream that it was copied from or read out of. `batch` does not see the last.
    """

    subject: str
    sequence: int
    data: bytes
    at: float
    traceparent: str | None = None
    message_id: str | None = None
    read_out_of: str | None = None


async def batch(client: Client, stream: str, request: Mapping[str, object]) -> tuple[list[Stored], int]:
    """Return the messages of one batch, none if none matches, and how many messages match after it.

    `request` is JetStream's own, such as `{"batch": 256, "seq": 1, "next_by_subj": "video.events.>"}`. Raises
    `TimeoutError` if the first message does not come within `FIRST_ANSWER_WITHIN_S`, `ServiceUnavailableError` if no
    replica or no such stream is there, and `APIError` if the request is refused. Waits for the rest without limit: the
    caller sets one.
    """
    inbox: asyncio.Queue[Msg] = asyncio.Queue()
    reply = client.new_inbox()
    subscription = await client.subscribe(reply, cb=inbox.put)
    try:
        await client.publish(f"$JS.API.DIRECT.GET.{stream}", json.dumps(request).encode(), reply=reply)
        return await _collect(inbox)
    finally:
        with suppress(nats.errors.Error, OSError):  # it may be closed already
            await subscription.unsubscribe()


async def one(client: QuickClient, stream: str, request: Mapping[str, object]) -> tuple[Stored, int] | None:
    """Return the first message of a batch, and how many messages match after it; None if there is none.

    Cheaper than `batch`, since it is a quick request; what follows the first message is dropped. Raises an error of
    NATS, `TimeoutError`, or `APIError` without such an answer.
    """
    payload = json.dumps(request).encode()
    answer = await client.quick(f"$JS.API.DIRECT.GET.{stream}", payload, within_s=FIRST_ANSWER_WITHIN_S)
    if (found := stored_in(answer)) is None:
        return None
    return found, int(_header(answer.headers, b"Nats-Num-Pending"))


def stored_in(answer: Answer) -> Stored | None:
    """Return the message that a direct get was answered with; None if the answer says that there is none.

    Raises `APIError` for any other answer.
    """
    headers = answer.headers
    if not _header(headers, OF_A_MESSAGE.encode()):
        if (status := headers[_STATUS_AT]) == _NONE:
            return None
        raise nats.js.errors.APIError(code=500, description=f"a direct get was answered {status!r}")
    at = datetime.fromisoformat(_header(headers, b"Nats-Time-Stamp")).timestamp()
    subject, sequence = _header(headers, b"Nats-Subject"), int(_header(headers, OF_A_MESSAGE.encode()))
    return Stored(subject, sequence, answer.data, at, *said_by(_own(headers)))


def republished(headers: bytes, data: bytes) -> Stored | None:
    """Return the message that a stream has republished, as the stream holds it; None if it comes from no stream."""
    sequence, subject = _header(headers, OF_A_MESSAGE.encode()), _header(headers, b"Nats-Subject")
    if not (sequence.isascii() and sequence.isdigit() and len(sequence) <= SEQUENCE_DIGITS_MAX and subject):
        return None
    try:
        at = datetime.fromisoformat(_header(headers, b"Nats-Time-Stamp")).timestamp()
    except ValueError:
        at = 0.0
    return Stored(subject, int(sequence), data, at, *said_by(_own(headers)))


def said_by(headers: bytes) -> tuple[str | None, str | None, str | None]:
    """Return what a message's own headers say of it, as the last fields of `Stored`; None for what they do not say."""
    return _header(headers, _TRACE) or None, _header(headers, _ID) or None, _header(headers, _STREAM) or None


def _own(headers: bytes) -> bytes:
    """Return a message's own headers, of what the broker has sent: it puts its own, from `Nats-Stream` on, behind."""
    return headers[: headers.rfind(b"\r\n%b:" % _STREAM)] + b"\r\n"


def _header(headers: bytes, name: bytes) -> str:
    """Return the last value of a header; empty without one."""
    _, found, rest = headers.rpartition(b"\r\n%b:" % name)
    return rest[: rest.find(b"\r")].strip().decode(errors="replace") if found else ""


async def _collect(inbox: asyncio.Queue[Msg]) -> tuple[list[Stored], int]:
    """Return what `batch` returns, from the inbox in which its answers arrive."""
    found: list[Stored] = []
    pending = 0
    message = await asyncio.wait_for(inbox.get(), FIRST_ANSWER_WITHIN_S)
    while True:
        headers = message.headers or {}
        if OF_A_MESSAGE in headers:
            found.append(_stored(message, headers))
            pending = int(headers["Nats-Num-Pending"])
        else:
            match headers.get("Status"):
                case "204" | "404":
                    return found, pending
                case "503":
                    raise nats.js.errors.ServiceUnavailableError
                case status:
                    raise nats.js.errors.APIError(code=500, description=f"a direct get was answered {status}")
        message = await inbox.get()


def _stored(message: Msg, headers: Mapping[str, str]) -> Stored:
    """Return the message of a stream that a direct get was answered with."""
    at = datetime.fromisoformat(headers["Nats-Time-Stamp"]).timestamp()
    sequence, trace = int(headers[OF_A_MESSAGE]), headers.get(tracing.HEADER)
    return Stored(headers["Nats-Subject"], sequence, message.data, at, trace, headers.get("Nats-Msg-Id"))
