"""The text of an API key, and what the broker keeps of it: a hash, whose the key is, and what it may do. Pure.

`ops.key` makes keys and the edge checks them. A key is `wj_<id>_<secret>_<checksum>`: the id names it in logs and
lists, the secret is drawn at random (190 bits, so that its plain SHA-256 cannot be guessed back), and the checksum, a
CRC32 of what stands before it, lets a scanner for secrets tell a key from other text.
"""

import hashlib
import re
import secrets
import zlib
from collections.abc import Callable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from contracts.bounds import Sha256
from contracts.decoding import decoder
from contracts.tenant import JobsMax, TenantName
from contracts.words import form

PREFIX = "wj"
ID_CHARS, SECRET_CHARS, CHECKSUM_CHARS = 8, 32, 6
KEY_CHARS = len(PREFIX) + ID_CHARS + SECRET_CHARS + CHECKSUM_CHARS + 3
KEY_NAME_CHARS_MAX = 64
KEYS_MAX = 10_000
"""Of how many keys and tenants together the broker keeps an entry. Each edge holds all of them in memory."""
ENTRY_BYTES_MAX = 2048
SUBMISSIONS_A_MINUTE_MAX = 1_000_000

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CHARACTER = "[0-9A-Za-z]"
_KEY = re.compile(
    rf"{PREFIX}_({_CHARACTER}{{{ID_CHARS}}})_({_CHARACTER}{{{SECRET_CHARS}}})_({_CHARACTER}{{{CHECKSUM_CHARS}}})"
)

Scope = Literal["submit", "read", "admin"]
"""What a key may do: change jobs (submit, cancel, delete, remix); see jobs; both, for the jobs of all tenants."""
KeyId = Annotated[str, Meta(pattern=rf"^{_CHARACTER}{{{ID_CHARS}}}\Z")]
KeyName = Annotated[
    str,
    Meta(
        pattern=rf"^[ -~]{{1,{KEY_NAME_CHARS_MAX}}}\Z",
        extra=form(f"1 to {KEY_NAME_CHARS_MAX} printable characters of ASCII"),
    ),
]
AMinute = Annotated[int, Meta(ge=0, le=SUBMISSIONS_A_MINUTE_MAX)]
"""Submissions a minute; 0 for no limit."""


class ApiKey(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A key as the broker keeps it, without its secret. Times are in Unix seconds.

    `expires_at` is None for a key that does not expire, `revoked_at` for one that was not revoked.
    """

    id: KeyId
    name: KeyName
    tenant: TenantName
    scopes: Annotated[tuple[Scope, ...], Meta(min_length=1, max_length=3)]
    secret_sha256: Sha256
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None

    def is_good(self, now: float) -> bool:
        """Return whether the key is neither expired nor revoked at this time."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


class TenantLimits(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The limits of a tenant: unfinished jobs over all edges, and submissions a minute at each edge.

    None for a limit that is not set: then the settings of the edge decide.
    """

    tenant: TenantName
    jobs_max: JobsMax | None = None
    submissions_a_minute: AMinute | None = None


encode_entry: Callable[[ApiKey | TenantLimits], bytes] = msgspec.json.Encoder().encode
decode_key: Callable[[bytes], ApiKey] = decoder(ApiKey)
decode_limits: Callable[[bytes], TenantLimits] = decoder(TenantLimits)


def new_key() -> tuple[str, str]:
    """Return a new id and secret, drawn at random."""
    drawn = "".join(secrets.choice(_BASE62) for _ in range(ID_CHARS + SECRET_CHARS))
    return drawn[:ID_CHARS], drawn[ID_CHARS:]


def text_of(key_id: str, secret: str) -> str:
    """Return the text of a key, which its holder is shown once."""
    bare = f"{PREFIX}_{key_id}_{secret}"
    return f"{bare}_{_checksum(bare)}"


def parsed(text: str) -> tuple[str, str] | None:
    """Return id and secret of the text of a key; None if the text is no key, or its checksum is another."""
    match = _KEY.fullmatch(text) if len(text) == KEY_CHARS else None
    if match is None or _checksum(text[: -CHECKSUM_CHARS - 1]) != match[3]:
        return None
    return match[1], match[2]


def sha256_of(secret: str) -> str:
    """Return what is kept of a secret: its SHA-256, in hexadecimal."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _checksum(bare: str) -> str:
    """Return the CRC32 of a key without its checksum, in base 62, with leading zeros."""
    left, digits = zlib.crc32(bare.encode()), ""
    while len(digits) < CHECKSUM_CHARS:
        left, digit = divmod(left, len(_BASE62))
        digits = _BASE62[digit] + digits
    return digits
