"""The messages between the edge and its fork server: each is one datagram of a Unix socket.

`sandbox` sends orders and reads reports, `fork_server` the other way round. The descriptors of a `Fork` travel beside
its datagram (SCM_RIGHTS).
"""

import msgspec
from msgspec import Struct

MESSAGE_BYTES_MAX = 4096
FILES_MAX = 4
"""The most descriptors of one child, its socket among them."""

BROKEN_EXIT = 1
"""The exit code of a child that raised an exception."""


class Fork(Struct, frozen=True, tag=True):
    """The order to fork a child that does `work`. `number` names the child in all other messages."""

    number: int
    work: str
    arguments: tuple[str, ...] = ()


class Kill(Struct, frozen=True, tag=True):
    """The order to kill a child. Nothing happens if the child has ended."""

    number: int


class Retire(Struct, frozen=True, tag=True):
    """The order to fork no more children, and to end once those that live have ended."""


class Ready(Struct, frozen=True, tag=True):
    """The report that everything is imported."""


class Ended(Struct, frozen=True, tag=True):
    """The report that a child has ended and was reaped. `returncode` is negative for the signal that ended it."""

    number: int
    returncode: int


class NotForked(Struct, frozen=True, tag=True):
    """The report that a child could not be forked."""

    number: int
    error: str


encode = msgspec.msgpack.Encoder().encode
decode_order = msgspec.msgpack.Decoder[Fork | Kill | Retire](Fork | Kill | Retire).decode
decode_report = msgspec.msgpack.Decoder[Ready | Ended | NotForked](Ready | Ended | NotForked).decode
