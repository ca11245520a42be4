"""Hold all keys and limits that the broker keeps, and find the caller of a header among them. Pure; `keys` fills it.

Every refusal costs the same and tells the same: an unknown key is compared with a hash too. What was wrong is for the
log alone.
"""

import hmac
from enum import Enum

from contracts import subjects
from contracts.api_key import ApiKey, TenantLimits, decode_key, decode_limits, parsed, sha256_of
from contracts.decoding import Undecodable
from services.edge.auth.caller import Caller

SCHEME = b"bearer "
HEADER_BYTES_MAX = 200
"""Longer headers are not looked at."""


class Fault(Enum):
    """Reasons to refuse a key, by the word that the log has for each. The caller is not told."""

    NONE = "no key"
    MALFORMED = "malformed"
    UNKNOWN = "unknown"
    WRONG = "wrong secret"
    EXPIRED = "expired"
    REVOKED = "revoked"


class BadKey(Exception):
    """The key of a request is refused. `key_id` is the id that it names, None for what has not the form of a key."""

    def __init__(self, fault: Fault, key_id: str | None) -> None:
        super().__init__(fault.value)
        self.fault, self.key_id = fault, key_id


_NOBODYS = ApiKey(id="0" * 8, name="nobody", tenant="nobody", scopes=("read",), secret_sha256="0" * 64, created_at=0.0)
_NO_KEY = ("", "")


class KeyTable:
    """The keys and limits of one edge's memory, by their entries. Lives as long as the edge."""

    def __init__(self) -> None:
        self.entries: dict[str, ApiKey | TenantLimits | None] = {}
        """By the key of the bucket; None for an entry that was removed, or that this version cannot read."""

    def note(self, entry: str, value: bytes) -> None:
        """Take an entry as the bucket has it now, empty if it was removed. Refuse one that raises `Undecodable`."""
        self.entries[entry] = None
        if value and entry.startswith(subjects.KEYS_OF_KEYS):
            key = decode_key(value)
            if subjects.key_entry(key.id) != entry:
                raise Undecodable("it speaks of another key")
            self.entries[entry] = key
        elif value and entry.startswith(subjects.KEYS_OF_TENANTS):
            limits = decode_limits(value)
            if subjects.tenant_entry(limits.tenant) != entry:
                raise Undecodable("it speaks of another tenant")
            self.entries[entry] = limits

    def caller(self, headers: list[bytes], now: float) -> Caller:
        """Return who shows the key in a request's `Authorization` headers at this Unix time. Raises `BadKey`."""
        text = _key_in(headers)
        shown = parsed(text)
        key_id, secret = shown or _NO_KEY
        found = self.entries.get(subjects.key_entry(key_id))
        key = found if isinstance(found, ApiKey) else _NOBODYS
        is_right = hmac.compare_digest(sha256_of(secret).encode(), key.secret_sha256.encode())
        if not headers:
            raise BadKey(Fault.NONE, None)
        if shown is None:
            raise BadKey(Fault.MALFORMED, None)
        if not is_right:
            raise BadKey(Fault.UNKNOWN if key is _NOBODYS else Fault.WRONG, key_id)
        if not key.is_good(now):
            raise BadKey(Fault.EXPIRED if key.revoked_at is None else Fault.REVOKED, key_id)
        return self._caller_with(key)

    def _caller_with(self, key: ApiKey) -> Caller:
        """Return the caller with a key, and with the limits of the key's tenant."""
        found = self.entries.get(subjects.tenant_entry(key.tenant))
        limits = found if isinstance(found, TenantLimits) else TenantLimits(tenant=key.tenant)
        return Caller(
            tenant=key.tenant,
            scopes=key.scopes,
            key_id=key.id,
            jobs_max=limits.jobs_max,
            submissions_a_minute=limits.submissions_a_minute,
        )


def _key_in(headers: list[bytes]) -> str:
    """Return the key in the `Authorization` headers of a request; empty if they are not one `Bearer`."""
    if len(headers) != 1 or len(headers[0]) > HEADER_BYTES_MAX or headers[0][: len(SCHEME)].lower() != SCHEME:
        return ""
    return headers[0][len(SCHEME) :].strip(b" \t").decode("latin-1")
