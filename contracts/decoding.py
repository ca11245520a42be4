"""Decoders from JSON bytes to bounded types, or `Undecodable`. `wire` makes them. Pure."""

from collections.abc import Callable
from typing import Any

import msgspec

PARAMETERS = ("job", "metadata")
"""The fields in which an ending repeats what was asked for."""


class Undecodable(ValueError):
    """Bytes are not of the type that their place demands."""


def decoder(kind: object) -> Callable[[bytes], Any]:
    """Return a function that decodes JSON bytes to this type, or raises `Undecodable`."""
    decode = msgspec.json.Decoder[Any](kind).decode

    def decode_or_say(payload: bytes) -> object:
        try:
            return decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Undecodable(str(error)) from error

    return decode_or_say


def lenient_decoder(kind: object) -> Callable[[bytes], Any]:
    """Return a decoder as `decoder` does that leaves out an ending's `PARAMETERS` if they cannot be decoded.

    A newer edge may have accepted a job with a value that this version does not know. How the job ended must not be
    unknown because of that. An event that needs the field, as a submission does, is `Undecodable` all the same.
    """
    decode, decode_object = decoder(kind), decoder(dict[str, msgspec.Raw])

    def decode_or_leave_out(payload: bytes) -> object:
        try:
            return decode(payload)
        except Undecodable:
            fields = decode_object(payload)
            if not fields.keys() & set(PARAMETERS):
                raise
            rest = {name: value for name, value in fields.items() if name not in PARAMETERS}
            return decode(msgspec.json.encode(rest))

    return decode_or_leave_out
