"""Tell events of the log from answers of the broker that somebody had sent there. Pure.

nats-server checks to which subjects a client publishes, and not to which subject it wants its answer sent. So whoever
may ask JetStream anything can have an answer stored as the message of an event, an ending too. No publisher of ours
makes such a message: it publishes every event under a message id, and without the header of what was read out.
"""

from typing import Protocol

import msgspec
from msgspec import Struct

from contracts import subjects, wire

_TYPES = "io.nats."
"""How the types of the answers of JetStream and of services begin."""


class Given(wire.Message, Protocol):
    """A message of the log with what its own headers say, such as `broker.Delivery`."""

    @property
    def message_id(self) -> str | None: ...
    @property
    def read_out_of(self) -> str | None: ...


class _Said(Struct, frozen=True):
    """Members that tell an answer: its type; of one to a publisher, where the message is; of a server's, its name."""

    type: object = None
    stream: object = None
    seq: object = None
    server: object = None


def is_answer(message: Given) -> bool:
    """Return whether nobody has published a message of the log: it is an answer of the broker.

    An answer by which the broker reads out a stored message (a direct get) names the stream of that one. It may hold
    anything, a well-formed ending too. Every other answer has no message id, and the form of the broker's own. A
    submission names a stream as well, since the broker has copied it from the queue.
    """
    if subjects.is_submission(message.subject):
        return False
    if message.read_out_of is not None:
        return True
    return message.message_id is None and _has_form_of_answer(message.data)


def _has_form_of_answer(data: bytes) -> bool:
    """Return whether nobody but the broker writes such a payload; empty is that of a mere status."""
    if not data:
        return True
    try:
        said = msgspec.json.decode(data, type=_Said)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    if isinstance(said.type, str):
        return said.type.startswith(_TYPES)
    return None not in (said.stream, said.seq) or said.server is not None
