"""The key that tests show to edges: with `TEST_AUTH=keys just test …`, every edge asks for one that does not set AUTH.

It is the same key in every run, of the tenant whose jobs the tests publish by themselves, and may do what clients may.
`Broker.environment` hands AUTH to the processes under test, `client_session` and `LINES` show the key, and `Edge.ready`
has it made.
"""

import os
from typing import Any

import aiohttp
import pytest

from contracts import api_key, subjects
from contracts.api_key import ApiKey
from contracts.broker import Bus, bus
from contracts.tenant import DEFAULT_TENANT
from tests.kit.waiting import eventually

AUTH = os.environ.get("TEST_AUTH", "off")
KNOWN_WITHIN_S = 20.0
_ID, _SECRET = "tests000", "0" * api_key.SECRET_CHARS


def bearer(key: str) -> dict[str, str]:
    """Return the headers that show a key."""
    return {"Authorization": f"Bearer {key}"}


HEADERS = {} if AUTH == "off" else bearer(api_key.text_of(_ID, _SECRET))
"""What shows the key of the tests; empty if edges ask for none."""
WITHOUT_KEYS = pytest.mark.skipif(AUTH != "off", reason="it pins what an edge says that asks for no key")
"""Marks a test, or a case, that has no sense where edges ask for keys."""
LINES = [f"{name}: {value}" for name, value in HEADERS.items()]
"""`HEADERS` as lines of a request that is written by hand."""


def client_session(**options: Any) -> aiohttp.ClientSession:
    """Return a client that shows the key of the tests with every request that shows no other."""
    return aiohttp.ClientSession(headers=HEADERS, **options)


async def make_key(link: Bus) -> None:
    """Make the key of the tests on a provisioned broker, if edges ask for one."""
    if not HEADERS:
        return
    key = ApiKey(
        id=_ID,
        name="of the tests",
        tenant=DEFAULT_TENANT,
        scopes=("submit", "read"),
        secret_sha256=api_key.sha256_of(_SECRET),
        created_at=0.0,
    )
    await link.put_last(subjects.KEYS_BUCKET, subjects.key_entry(_ID), api_key.encode_entry(key))


async def let_in(client: aiohttp.ClientSession, url: str, broker_url: str) -> None:
    """Have an edge that is ready know the key of the tests."""
    if HEADERS and not await is_known(client, url, HEADERS):
        async with bus.connect(broker_url, name="test") as link:
            await make_key(link)
        await known(client, url, HEADERS)


async def known(client: aiohttp.ClientSession, url: str, shown: dict[str, str]) -> None:
    """Wait until an edge knows a key. Keys are read in their order, so it knows all that were made before, too."""
    await eventually(lambda: is_known(client, url, shown), within_s=KNOWN_WITHIN_S)


async def is_known(client: aiohttp.ClientSession, url: str, shown: dict[str, str]) -> bool:
    """Return whether an edge takes a key for a good one."""
    async with client.get(f"{url}/v1/models", headers=shown) as answer:
        return answer.status not in (401, 503)
