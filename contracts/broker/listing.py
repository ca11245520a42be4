"""The subjects of a stream that match a pattern, asked of its leader, a page of up to 100,000 at a time."""

import msgspec
import nats.js.errors
from msgspec import Struct
from nats.aio.client import Client

from contracts.broker.api_error import ApiError


class _State(Struct):
    """The part of a stream's state that is read: how many messages each matching subject has."""

    subjects: dict[str, int] | None = None


class _Reply(Struct):
    """The leader's answer: a page of subjects, and how many there are in all; or an error."""

    state: _State | None = None
    total: int = 0
    error: ApiError | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Reply).decode


async def page(client: Client, stream: str, pattern: str, offset: int, *, within_s: float) -> tuple[list[str], int]:
    """Return the subjects from this one on, by their number, and how many there are in all.

    Raises an error of NATS, or `APIError`: `NotFoundError` without such a stream.
    """
    asked = _encode({"subjects_filter": pattern, "offset": offset})
    answer = await client.request(f"$JS.API.STREAM.INFO.{stream}", asked, timeout=within_s)
    try:
        reply = _decode(answer.data)
    except msgspec.DecodeError as error:
        raise nats.js.errors.APIError(code=500, description=f"an answer cannot be read: {error}") from error
    if reply.error is not None:
        raise nats.js.errors.APIError.from_error({"code": reply.error.code, "err_code": reply.error.err_code})
    return list((reply.state and reply.state.subjects) or ()), reply.total
