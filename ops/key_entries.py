"""Read and write the entries of API keys and of tenants on the broker, and write them out as tables. `key` calls it."""

import time
from typing import Any

from msgspec.structs import replace

from contracts import api_key, subjects
from contracts.api_key import ApiKey, Scope, TenantLimits
from contracts.broker import Bus, Stored, WrongSequence
from contracts.decoding import Undecodable
from ops.printing import span

NO_LIMIT = "none"
HEAD = ("id", "name", "tenant", "scopes", "state")
LIMITS_HEAD = ("tenant", "unfinished jobs", "submissions a minute")
ENTRY_CHARS_MAX = 40
STREAM = subjects.bucket_stream(subjects.KEYS_BUCKET)


async def create(broker: Bus, name: str, tenant: str, scopes: tuple[Scope, ...], expires_at: float | None) -> str:
    """Store a new key, and return its text, which is kept nowhere. Raises `Unavailable`, or `Refused` if it is full."""
    key_id, secret = api_key.new_key()
    key = ApiKey(
        id=key_id,
        name=name,
        tenant=tenant,
        scopes=scopes,
        secret_sha256=api_key.sha256_of(secret),
        created_at=time.time(),
        expires_at=expires_at,
    )
    entry, value = subjects.key_entry(key_id), api_key.encode_entry(key)
    try:
        await broker.put(subjects.KEYS_BUCKET, entry, value, revision=0)
    except WrongSequence:
        if await _stored(broker, entry) != value:  # else an earlier try has stored it, and its answer was lost
            raise
    return api_key.text_of(key_id, secret)


async def revoke(broker: Bus, key_id: str) -> ApiKey:
    """Revoke a key for good, and return it. Ends the process with a sentence if there is none of this id.

    Raises `Unavailable`.
    """
    while True:
        stored = await broker.last(STREAM, subjects.bucket_key(subjects.KEYS_BUCKET, subjects.key_entry(key_id)))
        if stored is None or not stored.data:
            raise SystemExit(f"there is no key {key_id}; `just key list` shows all")
        key = api_key.decode_key(stored.data)
        revoked = replace(key, revoked_at=key.revoked_at or time.time())
        entry, value = subjects.key_entry(key_id), api_key.encode_entry(revoked)
        try:
            await broker.put(subjects.KEYS_BUCKET, entry, value, revision=stored.sequence)
        except WrongSequence:  # somebody else has written it, or our own answer was lost
            continue
        return revoked


async def limit(broker: Bus, tenant: str, changes: dict[str, Any]) -> TenantLimits:
    """Change limits of a tenant by their names, None for no limit, and return all of them. Raises `Unavailable`."""
    stored = await broker.get(subjects.KEYS_BUCKET, subjects.tenant_entry(tenant))
    before = TenantLimits(tenant=tenant) if stored is None else api_key.decode_limits(stored.data)
    after = replace(before, **changes)
    if changes:
        await broker.put_last(subjects.KEYS_BUCKET, subjects.tenant_entry(tenant), api_key.encode_entry(after))
    return after


def listed(entries: list[Stored], now: float) -> list[str]:
    """Return the lines of a list of all keys, and of all tenants with limits."""
    keys: list[tuple[str, ...]] = [HEAD]
    limits: list[tuple[str, ...]] = [LIMITS_HEAD]
    for stored in entries:
        entry = stored.subject.removeprefix(subjects.bucket_key(subjects.KEYS_BUCKET, ""))
        try:
            if entry.startswith(subjects.KEYS_OF_KEYS) and stored.data:
                key = api_key.decode_key(stored.data)
                keys.append((key.id, key.name, key.tenant, ",".join(key.scopes), _state(key, now)))
            elif stored.data:
                of = api_key.decode_limits(stored.data)
                limits.append((of.tenant, limit_text(of.jobs_max), limit_text(of.submissions_a_minute)))
        except Undecodable:
            keys.append((entry[:ENTRY_CHARS_MAX], "", "", "", "cannot be read by this version"))
    return table(keys) + (["", *table(limits)] if len(limits) > 1 else [])


def _state(key: ApiKey, now: float) -> str:
    """Return whether a key is good, and for how long."""
    if key.revoked_at is not None:
        return f"revoked {span(now - key.revoked_at)} ago"
    if key.expires_at is None:
        return "good, does not expire"
    left = key.expires_at - now
    return f"good for {span(left)}" if left > 0 else f"expired {span(-left)} ago"


def limit_text(value: int | None) -> str:
    return NO_LIMIT if value is None else str(value)


def table(rows: list[tuple[str, ...]]) -> list[str]:
    """Return rows of cells as lines with columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


async def _stored(broker: Bus, entry: str) -> bytes:
    """Return the value of an entry as the leader has it; empty without one. Raises `Unavailable`."""
    found = await broker.last(STREAM, subjects.bucket_key(subjects.KEYS_BUCKET, entry))
    return b"" if found is None else found.data
