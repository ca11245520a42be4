"""Derive the job that a submission means: a fresh one, or under an `Idempotency-Key` always the same one. Pure.

`Jobs.identify` calls this. The id is derived from the key and not drawn, so that every edge, also one that was just
restarted, gives a repeated submission the same job.
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
    """The id of a job, and a digest of the request; None for a submission without a key, which cannot be repeated."""

    job_id: str
    fingerprint: str | None = None


def new_identity() -> Identity:
    """Return a random identity, for a submission without a key."""
    return Identity(uuid.uuid4().hex)


def key_in(header: str) -> str:
    """Return the key in an `Idempotency-Key` header, quoted or bare. Raises `Invalid`."""
    key = header.strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not 0 < len(key) <= KEY_CHARS_MAX:
        what = f"the header Idempotency-Key had {len(key)} characters; it may have 1 to {KEY_CHARS_MAX}"
        raise Invalid([Objection("Idempotency-Key", what)])
    return key


def keyed_identity(secret: bytes, key: str, request: JobRequest, inline: Spool | None = None) -> Identity:
    """Return the id of the job that a key means, and a fingerprint of the request, taken before a seed is drawn.

    Both are HMACs: neither the key nor a guessable prompt can be read out of them. `inline`, the image's `data:` URI if
    it was taken out of the request, counts as if it still stood there; it has its file.
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
    """Return the HMAC-SHA256 of a message's pieces for one purpose, in hexadecimal."""
    digest = hmac.new(secret, purpose + b"\0", hashlib.sha256)
    for piece in message:
        digest.update(piece)
    return digest.hexdigest()
