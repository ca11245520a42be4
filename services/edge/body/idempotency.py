"""Which job a submission means: a fresh one, or, under an `Idempotency-Key`, always the same one. Pure.

The id is derived and not drawn, so that any edge, also one that was just restarted, gives a repeat the same job.
"""

import hashlib
import hmac
import uuid
from collections.abc import Iterable

import msgspec
from msgspec import Struct

from contracts.cluster import Objection
from contracts.job import JobRequest
from services.edge.errors import Invalid
from services.edge.image.data_uri import INLINE
from services.edge.resources.spool import Spool

KEY_CHARS_MAX = 255
JOB_ID_BYTES = 16
PIECE_BYTES = 1024 * 1024

_INLINE_MEMBER = b'"image_url":"' + INLINE.encode()


class Identity(Struct, frozen=True):
    """`fingerprint` is None for a submission that nobody can repeat."""

    job_id: str
    fingerprint: str | None = None


def fresh() -> Identity:
    return Identity(uuid.uuid4().hex)


def key_in(header: str) -> str:
    """The key in an `Idempotency-Key` header, quoted or bare. Raises `Invalid`."""
    key = header.strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not 0 < len(key) <= KEY_CHARS_MAX:
        what = f"the header Idempotency-Key had {len(key)} characters; it may have 1 to {KEY_CHARS_MAX}"
        raise Invalid([Objection("Idempotency-Key", what)])
    return key


def repeatable(secret: bytes, key: str, request: JobRequest, inline: Spool | None = None) -> Identity:
    """The job that this key means, and a fingerprint of what was asked for under it, before a seed is drawn.

    Both keyed: neither the key nor a guessable prompt can be read out of them. A picture's URI that is kept apart
    counts as if it stood in the request.
    """
    job_id = _keyed(secret, b"key", [key.encode()])[: 2 * JOB_ID_BYTES]
    text = msgspec.json.encode(request)
    if inline is None:
        return Identity(job_id, _keyed(secret, b"request", [text]))
    before, mark, after = text.partition(_INLINE_MEMBER)
    with inline.mapped() as uri:
        whole = memoryview(uri)
        pieces = (whole[start : start + PIECE_BYTES] for start in range(0, len(whole), PIECE_BYTES))
        try:
            return Identity(job_id, _keyed(secret, b"request", [before, mark[: -len(INLINE)], *pieces, after]))
        finally:
            whole.release()


def _keyed(secret: bytes, purpose: bytes, message: Iterable[bytes | memoryview]) -> str:
    digest = hmac.new(secret, purpose + b"\0", hashlib.sha256)
    for piece in message:
        digest.update(piece)
    return digest.hexdigest()
