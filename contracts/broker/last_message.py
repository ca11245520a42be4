"""The last message on a subject, by one quick request to the leader of a stream or to any replica (a direct get)."""

from datetime import datetime

import msgspec
import nats.js.errors
from msgspec import Struct

from contracts.broker.api_error import ApiError
from contracts.broker.client import FailoverClient
from contracts.broker.direct_get import Stored, said_by, stored_in

NOT_FOUND = 404


class _Message(Struct):
    """A message as the leader gives it: `data` and headers (`hdrs`) in base64, `time` in ISO 8601."""

    subject: str
    seq: int
    time: str
    data: bytes = b""
    hdrs: bytes = b""


class _Reply(Struct):
    """The leader's answer: a message or an error."""

    message: _Message | None = None
    error: ApiError | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Reply).decode


async def from_replica(client: FailoverClient, stream: str, subject: str, within_s: float) -> Stored | None:
    """Return the last message on a subject or pattern, from any replica; None if there is none.

    Raises an error of NATS, `TimeoutError` or `APIError` without such an answer.
    """
    answer = await client.quick(f"$JS.API.DIRECT.GET.{stream}.{subject}", b"", within_s=within_s)
    return stored_in(answer)


async def from_leader(client: FailoverClient, stream: str, subject: str, within_s: float) -> Stored | None:
    """Return the last message on a subject or pattern, from the leader; None if there is none, or no such stream.

    Raises as `from_replica` does, and `ServiceUnavailableError` without a leader.
    """
    asked = _encode({"last_by_subj": subject})
    answer = await client.quick(f"$JS.API.STREAM.MSG.GET.{stream}", asked, within_s=within_s)
    try:
        reply = _decode(answer.data)
        if (found := reply.message) is not None:
            at = datetime.fromisoformat(found.time).timestamp()
            return Stored(found.subject, found.seq, found.data, at, *said_by(found.hdrs))
    except (msgspec.DecodeError, ValueError) as error:
        raise nats.js.errors.APIError(code=500, description=f"an answer cannot be read: {error}") from error
    error = reply.error or ApiError()
    if error.code == NOT_FOUND:
        return None
    raise nats.js.errors.APIError.from_error({"code": error.code, "err_code": error.err_code})
