"""Derive the job that a submission means: a fresh one, or under an `Idempotency-Key` always the same one. Pure.

`identities` calls this. The id is derived from the key and not drawn, so that every edge, also one that was just
restarted, gives a repeated submission the same job.
"""

import hashlib
import hmac
import uuid
from collections.abc import Iterable
from typing import Protocol

import msgspec
from msgspec import Struct

from contracts.cluster import Objection
from contracts.job import JobRequest
from contracts.tenant import DEFAULT_TENANT
from services.edge.errors import Invalid
from services.edge.image.data_uri import INLINE
from services.edge.resources.spool import Spool

KEY_CHARS_MAX = 255
JOB_ID_BYTES = 16
PIECE_BYTES = 1024 * 1024

_INLINE_MEMBER = b'"image_url":"' + INLINE.encode()


class Asked(Protocol):
    """A parsed submission: the request, and its image if that was taken out of it, as a `data:` URI or as a file."""

    @property
    def request(self) -> JobRequest: ...
    @property
    def inline(self) -> Spool | None: ...
    @property
    def picture(self) -> Spool | None: ...


class Identity(Struct, frozen=True):
    """The id of a job, and the fingerprint of the request; None for a submission that cannot be repeated."""

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


def keyed_identity(secret: bytes, key: str, asked: Asked, tenant: str = DEFAULT_TENANT) -> Identity:
    """Return the id of the job that a tenant's key means, and the fingerprint of the request.

    Both are HMACs: neither the key nor a guessable prompt can be read out of them. The default tenant's ids are those
    of before there were tenants.
    """
    purpose = b"key" if tenant == DEFAULT_TENANT else b"key of " + tenant.encode()
    return Identity(_keyed(secret, purpose, [key.encode()])[: 2 * JOB_ID_BYTES], fingerprint(secret, asked))


def fingerprint(secret: bytes, asked: Asked) -> str:
    """Return an HMAC of a request and its image, taken before a seed is drawn, in hexadecimal.

    An image's `data:` URI that was taken out of the request counts as if it still stood there.
    """
    text = msgspec.json.encode(asked.request)
    if asked.inline is not None:
        before, mark, after = text.partition(_INLINE_MEMBER)
        return _with_content(secret, b"request", [before, mark[: -len(INLINE)]], asked.inline, [after])
    if asked.picture is not None:
        return _with_content(secret, b"upload", [text], asked.picture, [])
    return _keyed(secret, b"request", [text])


def repeat_key(secret: bytes, caller: str, request_fingerprint: str) -> str:
    """Return the name by which an unkeyed request of a caller is found again: an HMAC in hexadecimal."""
    return _keyed(secret, b"repeat", [caller.encode(errors="surrogateescape"), b"\0", request_fingerprint.encode()])


def _with_content(secret: bytes, purpose: bytes, before: list[bytes], spool: Spool, after: list[bytes]) -> str:
    """Return the HMAC of a message that holds the content of a spool, which has its file."""
    with spool.mapped() as content:
        whole = memoryview(content)
        pieces = (whole[start : start + PIECE_BYTES] for start in range(0, len(whole), PIECE_BYTES))
        try:
            return _keyed(secret, purpose, [*before, *pieces, *after])
        finally:
            whole.release()


def _keyed(secret: bytes, purpose: bytes, message: Iterable[bytes | memoryview]) -> str:
    """Return the HMAC-SHA256 of a message's pieces for one purpose, in hexadecimal."""
    digest = hmac.new(secret, purpose + b"\0", hashlib.sha256)
    for piece in message:
        digest.update(piece)
    return digest.hexdigest()
