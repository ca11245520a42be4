"""Keys for tests of the edge: made on the broker as `just key` makes them, and the headers that show them."""

import time

from contracts import api_key, subjects
from contracts.api_key import Scope
from contracts.broker import Bus
from ops.key_entries import create, revoke
from tests.kit.auth import bearer

HOUR_S = 3600.0


async def holder(link: Bus, tenant: str, *scopes: Scope, expires_at: float | None = None) -> dict[str, str]:
    """Make a key, and return the headers that show it."""
    wanted: tuple[Scope, ...] = scopes or ("submit", "read")
    return bearer(await create(link, f"of {tenant}", tenant, wanted, expires_at))


def id_of(shown: dict[str, str]) -> str:
    """Return the id of the key in such headers."""
    key = api_key.parsed(shown["Authorization"].removeprefix("Bearer "))
    assert key is not None
    return key[0]


async def bad_holders(link: Bus, tenant: str) -> dict[str, dict[str, str]]:
    """Return headers of all kinds that show no good key of a tenant, by their names."""
    good = await holder(link, tenant)
    text = good["Authorization"].removeprefix("Bearer ")
    gone = await holder(link, tenant)
    await revoke(link, id_of(gone))
    _, other_secret = api_key.new_key()
    return {
        "no key": {},
        "malformed": bearer(text[:-1]),
        "another scheme": {"Authorization": f"Basic {text}"},
        "unknown": bearer(api_key.text_of(*api_key.new_key())),
        "wrong secret": bearer(api_key.text_of(id_of(good), other_secret)),
        "expired": await holder(link, tenant, expires_at=time.time() - 1),
        "revoked": gone,
    }


async def entry_of(link: Bus, shown: dict[str, str]) -> bytes:
    """Return what the broker keeps of a key."""
    stored = await link.get(subjects.KEYS_BUCKET, subjects.key_entry(id_of(shown)))
    assert stored is not None
    return stored.data
